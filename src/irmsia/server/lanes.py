"""Turns for messages that come in whole: their memory is bounded, and slow senders hold up each other alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from irmsia.errors import TimedOutError

T = TypeVar("T")


class Lanes:
    """``fast`` messages come in at once. One that takes longer than ``hurry_s`` seconds makes way and goes on in one of
    ``slow`` other lanes; when these are full, the one that has been there longest ends. On one event loop; no locks.
    """

    def __init__(self, fast: int, slow: int, *, hurry_s: float = 0.5) -> None:
        self._turns = asyncio.Semaphore(fast)
        self._most_slow = slow
        self._hurry_s = hurry_s
        self._slow: dict[asyncio.Future[Any], None] = {}  # in the order of their coming

    async def wait_for_turn(self) -> None:
        """Return when there is a turn; `take` must follow at once."""
        await self._turns.acquire()

    async def take(self, coming: Awaitable[T], patience_s: float) -> T:
        """What ``coming`` gives, within ``patience_s``; the turn is given back.

        Raises:
            TimedOutError: it came too slowly.
        """
        reading: asyncio.Future[T] = asyncio.ensure_future(coming)
        try:
            try:
                await asyncio.wait({reading}, timeout=min(self._hurry_s, patience_s))
            finally:
                self._turns.release()
            if not reading.done():
                await self._take_slowly(reading, patience_s - self._hurry_s)
            if not reading.done() or reading.cancelled():
                raise TimedOutError("the request came too slowly")
            return reading.result()
        finally:
            reading.cancel()

    async def _take_slowly(self, reading: asyncio.Future[Any], patience_s: float) -> None:
        if len(self._slow) >= self._most_slow:
            oldest = next(iter(self._slow))
            del self._slow[oldest]
            oldest.cancel()
        self._slow[reading] = None
        try:
            await asyncio.wait({reading}, timeout=max(0.0, patience_s))
        finally:
            self._slow.pop(reading, None)
