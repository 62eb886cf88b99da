"""When a call is tried again: a diagnosis changes nothing on the server, so what was dropped or turned away may be."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from irmsia.errors import IrmsiaError, OverloadedError, UnavailableError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried before its error is raised, the first time included. Any other error is raised at once.

    ``overloaded``: tries while servers say that they are full; they are asked again no earlier than they say.
    ``unavailable``: tries while no server answers or the connection breaks; an upload that got further begins to count
    again. Pauses in seconds: the first one, doubled each time, and the longest.
    """

    overloaded: int = 5
    unavailable: int = 3
    pause_s: float = 0.2
    longest_pause_s: float = 5.0


class CallFailed(Exception):  # an envelope that never leaves this package, no error of its own
    """A call that failed: the typed ``error`` and what is ``known`` of its image."""

    def __init__(self, error: IrmsiaError, known: Any = None) -> None:
        super().__init__()
        self.error = error
        self.known = known


class Deadline:
    """So many seconds from now; null for no end."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds to go, at least a little: gRPC itself says that the time is over."""
        return None if self._end is None else max(0.001, self._end - time.monotonic())

    def allows(self, pause_s: float) -> bool:
        """Whether something could still be done after a pause."""
        return self._end is None or time.monotonic() + pause_s < self._end


class Tries:
    """Counts the tries of one call by ``policy``."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._overloaded = 0
        self._unavailable = 0

    def pause_after(self, error: IrmsiaError) -> float | None:
        """Seconds to wait before the next try, spread so that many clients do not come back at once; null: give up."""
        if isinstance(error, OverloadedError):
            self._overloaded += 1
            return (
                error.retry_after_s * random.uniform(1.0, 1.5) if self._overloaded < self._policy.overloaded else None
            )
        if isinstance(error, UnavailableError):
            self._unavailable += 1
            pause = min(self._policy.pause_s * 2 ** min(self._unavailable - 1, 30), self._policy.longest_pause_s)
            return pause * random.uniform(0.5, 1.0) if self._unavailable < self._policy.unavailable else None
        return None

    def progressed(self) -> None:
        """Something was gained since the last try."""
        self._unavailable = 0


def is_passing(error: IrmsiaError) -> bool:
    """Whether another server, or the same one later, may answer all the same."""
    return isinstance(error, (OverloadedError, UnavailableError))
