"""Who is let in: so many calls, so many bytes, nobody while the server stops. Lives on one event loop; no locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from irmsia.errors import OverloadedError, UnavailableError
from irmsia.server.lanes import Lanes

HasRoom = Callable[[str, int], bool]

MIB = 1024 * 1024
FULL = "too many requests at once"


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How much may be inside at once, by all doors together.

    ``calls``: requests for an answer, those that still come in among them. ``streams``: calls among them that take in
    message after message, and so may sit idle. ``receivers``, ``slow_receivers``: whole messages that come in at once,
    quickly and slowly. ``held_bytes``: sum of the images in memory that wait for an answer. ``retry_after_s``: seconds
    told to who was turned away.
    """

    calls: int = 256
    streams: int = 192
    receivers: int = 4
    slow_receivers: int = 12
    held_bytes: int = 256 * MIB
    retry_after_s: float = 1.0


class Admission:
    """Counts what is inside; both doors of a server share one. ``receiving`` bounds what comes in at once."""

    def __init__(
        self, limits: AdmissionLimits | None = None, *, has_room: HasRoom = lambda client, ahead: True
    ) -> None:
        """``has_room``: whether whoever answers would take an image of that client behind so many; it must be quick."""
        self._limits = limits = limits or AdmissionLimits()
        self._has_room = has_room
        self._calls = 0
        self._coming = 0
        self._streams = 0
        self._bytes = 0
        self._stopping = self._closed = False
        self._closed_at = 0.0
        self._last_turned_away = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.receiving = Lanes(limits.receivers, limits.slow_receivers)

    @property
    def retry_after_s(self) -> float:
        """Told to who was turned away."""
        return self._limits.retry_after_s

    @property
    def stopping(self) -> bool:
        """The server is about to let nobody in."""
        return self._stopping

    @property
    def closed(self) -> bool:
        """Nobody is let in any more."""
        return self._closed

    @property
    def calls(self) -> int:
        """Calls that were let in and are not over."""
        return self._calls

    @property
    def held_bytes(self) -> int:
        """Bytes of the images inside."""
        return self._bytes

    def enter(self, *, stream: bool = False) -> None:
        """Let one call in; `leave` must follow when it is over, its reply sent. ``stream``: one that may sit idle.

        Raises:
            OverloadedError: as many are inside as may be.
            UnavailableError: the server is stopping.
        """
        if self._closed:
            self._last_turned_away = time.monotonic()
            raise UnavailableError("the server is stopping")
        if self._calls >= self._limits.calls or (stream and self._streams >= self._limits.streams):
            raise OverloadedError(FULL, self._limits.retry_after_s)
        self._calls += 1
        self._streams += stream
        self._idle.clear()

    @contextmanager
    def coming(self, client: str) -> Iterator[None]:
        """An image of ``client`` comes in inside: nobody sends one only to hear that it cannot be answered.

        Raises:
            OverloadedError: it would find no place behind those that are on their way already.
        """
        if not self._has_room(client, self._coming):
            raise OverloadedError(FULL, self._limits.retry_after_s)
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    def is_full(self, client: str = "") -> bool:
        """Whether a whole image of ``client`` would be turned away now, other than by a server that stops."""
        return not self._closed and (self._calls >= self._limits.calls or not self._has_room(client, self._coming))

    def leave(self, *, stream: bool = False) -> None:
        """One call is over."""
        self._calls -= 1
        self._streams -= stream
        if self._calls == 0:
            self._idle.set()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count ``size`` bytes while the image waits for its answer. One image alone is always held.

        Raises:
            OverloadedError: too many bytes are waiting.
        """
        if self._bytes and self._bytes + size > self._limits.held_bytes:
            raise OverloadedError("too many bytes are waiting", self._limits.retry_after_s)
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size

    def stop(self) -> None:
        """Say that the server stops; requests that a door has passed on to another are let in until `close`."""
        self._stopping = True

    def close(self) -> None:
        """Let nobody in from now on."""
        if not self._closed:
            self._stopping = self._closed = True
            self._closed_at = time.monotonic()
        self._last_turned_away = time.monotonic()

    def closed_for(self) -> float:
        """Seconds since `close`; 0 before."""
        return time.monotonic() - self._closed_at if self._closed else 0.0

    async def idle(self) -> None:
        """Return when every call that was let in is over."""
        await self._idle.wait()

    async def quiet(self, seconds: float) -> None:
        """Return when nobody has knocked in vain for ``seconds``; only after `close`."""
        while (rest := self._last_turned_away + seconds - time.monotonic()) > 0:
            await asyncio.sleep(rest)
