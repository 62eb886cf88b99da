"""Who is let in: so many calls, so many bytes, nobody while the server stops. Lives on one event loop; no locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from irmsia.errors import OverloadedError, UnavailableError
from irmsia.server.grpc.config import GrpcServerConfig


class Admission:
    """Counts what is inside. ``receiving`` bounds the messages that come in at once."""

    def __init__(self, config: GrpcServerConfig) -> None:
        self._config = config
        self._calls = 0
        self._bytes = 0
        self._closed = False
        self._last_turned_away = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.receiving = asyncio.Semaphore(config.receivers)

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

    def enter(self) -> None:
        """Let one call in; `leave` must follow when the call is over, its reply sent.

        Raises:
            OverloadedError: as many are inside as may be.
            UnavailableError: the server is stopping.
        """
        if self._closed:
            self._last_turned_away = time.monotonic()
            raise UnavailableError("the server is stopping")
        if self._calls >= self._config.calls:
            raise OverloadedError("too many requests at once", self._config.retry_after_s)
        self._calls += 1
        self._idle.clear()

    def leave(self) -> None:
        """One call is over."""
        self._calls -= 1
        if self._calls == 0:
            self._idle.set()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count ``size`` bytes while the image waits for its answer. One image alone is always held.

        Raises:
            OverloadedError: too many bytes are waiting.
        """
        if self._bytes and self._bytes + size > self._config.held_bytes:
            raise OverloadedError("too many bytes are waiting", self._config.retry_after_s)
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size

    def close(self) -> None:
        """Let nobody in from now on."""
        self._closed = True
        self._last_turned_away = time.monotonic()

    async def idle(self) -> None:
        """Return when every call that was let in is over."""
        await self._idle.wait()

    async def quiet(self, seconds: float) -> None:
        """Return when nobody has knocked in vain for ``seconds``; only after `close`."""
        while (rest := self._last_turned_away + seconds - time.monotonic()) > 0:
            await asyncio.sleep(rest)
