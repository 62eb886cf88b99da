from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from irmsia.errors import UnavailableError
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.http.receiving import Incoming, Receiving


def beside_one_that_ends(act: Callable[[Receiving], Awaitable[None]]) -> None:
    """``act`` while the only place is held by a body whose time is over and whose files are still being removed."""

    async def work() -> None:
        receiving = Receiving(HttpServerConfig(receivers=1, receive_s=0.01))
        ending, removed = asyncio.Event(), asyncio.Event()

        async def slow_body() -> None:
            async with receiving.place():
                try:
                    await asyncio.sleep(60)
                finally:
                    ending.set()
                    await removed.wait()

        slow = asyncio.create_task(slow_body())
        await ending.wait()
        try:
            await act(receiving)
        finally:
            removed.set()
            await asyncio.wait({slow})
        assert len(receiving) == 0

    asyncio.run(work())


def test_a_newcomer_takes_the_place_of_one_that_ends_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made by a body that is ending already: the newcomer comes in."""
    monkeypatch.setattr(Incoming, "is_slow", lambda incoming: True)

    async def act(receiving: Receiving) -> None:
        async with receiving.place():
            assert len(receiving) == 1

    beside_one_that_ends(act)


def test_a_server_stops_beside_one_that_ends_already() -> None:
    """A stop, and another one, while a body is ending: nobody comes in any more, and nothing else happens."""

    async def act(receiving: Receiving) -> None:
        receiving.stop()
        receiving.stop()
        with pytest.raises(UnavailableError):
            async with receiving.place():
                pass

    beside_one_that_ends(act)
