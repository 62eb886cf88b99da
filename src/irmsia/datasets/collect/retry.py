"""When a request is made again: after how long, and when no more."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass

from irmsia.errors import IrmsiaError, TimedOutError

LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0


class RequestFailed(Exception):  # an envelope that never leaves this package, no error of its own
    """A request that failed.

    Attributes:
        error: what it means.
        again: whether it may work another time.
        after_s: seconds that the source asks to wait (Retry-After), null where it says nothing.
        afresh: whether what came so far cannot be trusted: another time from the start, and seldom.
    """

    def __init__(
        self, error: IrmsiaError, *, again: bool = True, after_s: float | None = None, afresh: bool = False
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.again = again
        self.after_s = after_s
        self.afresh = afresh


@dataclass(slots=True)
class Tries:
    """Counts the failures of one file or question.

    Attributes:
        retries: how often it may be made again without having got further.
        pause_s: the first pause; doubled each time, to `LONGEST_PAUSE_S`.
        fresh_starts: how often it may be begun again from nothing.
    """

    retries: int
    pause_s: float = 0.5
    fresh_starts: int = 2
    failures: int = 0

    def pause_after(self, failure: RequestFailed) -> float:
        """Seconds to wait before the next try, spread so that many do not come back at once.

        Raises:
            IrmsiaError: that of ``failure``: it is not tried again.
        """
        self.failures += 1
        self.fresh_starts -= failure.afresh
        patience = failure.after_s is None or failure.after_s <= LONGEST_RETRY_AFTER_S
        if not failure.again or self.failures > self.retries or self.fresh_starts < 0 or not patience:
            raise failure.error
        pause = min(self.pause_s * 2.0 ** min(self.failures - 1, 30), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
        return pause if failure.after_s is None else failure.after_s + pause

    def progressed(self) -> None:
        """Something was gained: failures are counted from nothing."""
        self.failures = 0


def retry_after_s(value: str | None) -> float | None:
    """Retry-After in seconds: a number or a date (RFC 9110 section 10.2.3); null where it is neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


class Pace:
    """Notices a body that comes drop by drop: less than a kilobyte in ``patience_s`` seconds is as good as nothing."""

    LEAST_BYTES = 1024

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since = time.monotonic()
        self._bytes = 0

    def check(self, count: int) -> None:
        """So many bytes came.

        Raises:
            RequestFailed: too few, for too long.
        """
        self._bytes += count
        now = time.monotonic()
        if now - self._since < self._patience_s:
            return
        if self._bytes < self.LEAST_BYTES:
            raise RequestFailed(TimedOutError("the source sends too slowly"))
        self._since, self._bytes = now, 0
