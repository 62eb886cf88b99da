"""Bodies that come in: so many at once; who dawdles makes room for who does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from irmsia.errors import IrmsiaError, OverloadedError, TimedOutError, UnavailableError
from irmsia.server.http.config import HttpServerConfig

_GENTLE_S = 3.0
"""So long nobody is called slow."""

_SLOW_BYTES_S = 16 * 1024
"""Below this rate a body makes room when all places are taken."""


_STOPPING, _FULL = "the server is stopping", "too many requests at once"


class Incoming:
    """One body on its way: ``received`` counts its bytes."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.received = 0
        self.made_room = False
        self._limit = limit
        self._began = time.monotonic()

    def is_slow(self) -> bool:
        """It has had its time, and others wait."""
        passed = time.monotonic() - self._began
        return passed > _GENTLE_S and self.received < passed * _SLOW_BYTES_S

    def rate(self) -> float:
        """Bytes a second so far."""
        return self.received / max(time.monotonic() - self._began, _GENTLE_S)

    def end(self) -> None:
        """Let it end now; one that is ending already, and still gives up its files, is left to it."""
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())


class Receiving:
    """The places. Lives on one event loop."""

    def __init__(self, config: HttpServerConfig) -> None:
        self._stopping = False
        self._config = config
        self._inside: set[Incoming] = set()

    def __len__(self) -> int:
        """Bodies that come in now."""
        return len(self._inside)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Incoming]:
        """One body's place.

        Raises:
            UnavailableError: the server is stopping.
            OverloadedError: all are taken and nobody dawdles, or this body did and made room.
            TimedOutError: the body took too long.
        """
        if self._stopping:
            raise UnavailableError(_STOPPING)
        self._make_room()
        incoming: Incoming | None = None
        try:
            async with asyncio.timeout(self._config.receive_s) as limit:
                incoming = Incoming(limit)
                self._inside.add(incoming)
                try:
                    yield incoming
                finally:
                    self._inside.discard(incoming)
        except TimeoutError:
            raise self._why(incoming) from None

    def _why(self, incoming: Incoming | None) -> IrmsiaError:
        if self._stopping:
            return UnavailableError(_STOPPING)
        if incoming is not None and incoming.made_room:
            return OverloadedError(_FULL, self._config.retry_after_s)
        return TimedOutError("the body came too slowly")

    def stop(self) -> None:
        """Turn away whose body is not whole yet, and who comes."""
        self._stopping = True
        for incoming in self._inside:
            incoming.end()

    def _make_room(self) -> None:
        if len(self._inside) < self._config.receivers:
            return
        slow = [incoming for incoming in self._inside if incoming.is_slow()]
        if not slow:
            raise OverloadedError(_FULL, self._config.retry_after_s)
        slowest = min(slow, key=Incoming.rate)
        self._inside.discard(slowest)
        slowest.made_room = True
        slowest.end()


class Relays:
    """Requests that this door passes on over gRPC: where that is this very server, it must stop after them."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """One request is passed on inside."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def idle(self) -> None:
        """Return when none is."""
        await self._idle.wait()
