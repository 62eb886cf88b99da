"""How far one image is, from the threads that work on it to the call that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from irmsia.inference.protocol import Stage


class ProgressFeed:
    """Holds the newest percentage of each stage until it is taken: bounded, and nobody who tells ever waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._percent: dict[Stage, float] = {}
        self._ended = False
        self._news = asyncio.Event()

    def tell(self, stage: Stage, percent: float) -> None:
        """`irmsia.inference.protocol.Progress`; from any thread."""
        with self._lock:
            self._percent[stage] = percent
        self._wake()

    def end(self) -> None:
        """No more will be told; from any thread."""
        self._ended = True
        self._wake()

    async def take(self) -> list[tuple[Stage, float]]:
        """Wait for news and take them, in the order of the stages; nothing when the feed ended."""
        while True:
            self._news.clear()
            with self._lock:
                news = sorted(self._percent.items())
                self._percent.clear()
            if news or self._ended:
                return news
            await self._news.wait()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._news.set)
