from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from irmsia.errors import TimedOutError
from irmsia.server.admission import AdmissionLimits
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.lanes import Lanes
from irmsia.wire import SERVICE
from tests.server.scripted import open_door
from tests.server.test_grpc import Wire, reason_of, until


async def take(lanes: Lanes, coming: asyncio.Future[str], patience_s: float = 30) -> str:
    """One message."""
    await lanes.wait_for_turn()
    return await lanes.take(coming, patience_s)


def test_quick_messages_come_in_turn() -> None:
    """So many at once and no more; who waits gets the turn of who is done."""

    async def work() -> None:
        lanes, loop = Lanes(2, 1, hurry_s=30), asyncio.get_running_loop()
        coming = [loop.create_future() for _ in range(4)]
        takers = [asyncio.create_task(take(lanes, one)) for one in coming]
        coming[2].set_result("third")
        await asyncio.sleep(0)
        assert [taker.done() for taker in takers] == [False] * 4
        coming[0].set_result("first")
        assert await takers[2] == "third"
        assert await takers[0] == "first"
        coming[1].set_result("second")
        coming[3].set_result("fourth")
        assert await asyncio.gather(*takers) == ["first", "second", "third", "fourth"]

    asyncio.run(work())


def test_slow_messages_make_way() -> None:
    """Slow ones give their turn to others, and are still taken when they come; of too many the oldest ends."""

    async def work() -> None:
        lanes, loop = Lanes(1, 2, hurry_s=0.01), asyncio.get_running_loop()
        coming = [loop.create_future() for _ in range(3)]
        takers = [asyncio.create_task(take(lanes, one)) for one in coming]
        with pytest.raises(TimedOutError):
            await takers[0]
        quick = loop.create_future()
        quick.set_result("quick")
        assert await take(lanes, quick) == "quick"
        coming[1].set_result("slow")
        assert await takers[1] == "slow"
        takers[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await takers[2]
        assert coming[2].cancelled()
        assert lanes._slow == {}
        with pytest.raises(TimedOutError):
            await take(lanes, loop.create_future(), 0.05)
        assert await take(lanes, quick) == "quick"

    asyncio.run(work())


def test_slow_senders_do_not_hold_up_others() -> None:
    """L2: many begin a message and do not end it; a good client is answered before their time is over."""
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(60)
        yield from ()

    config = GrpcServerConfig(port=0, receive_s=8, admission=AdmissionLimits(receivers=2, slow_receivers=3))
    with open_door(config=config) as door, Wire(door) as wire:
        began = time.monotonic()
        slow = [wire.channel.stream_unary(f"/{SERVICE}/DiagnoseDicom").future(never(), timeout=60) for _ in range(10)]
        until(lambda: door.server._admission.calls == 10)
        assert wire.diagnose(content=b"image").rule == 8
        assert time.monotonic() - began < 8
        for one in slow:
            error = one.exception(60)
            assert isinstance(error, grpc.RpcError)
            assert reason_of(error)[0] == "TIMED_OUT"
        done.set()
        until(lambda: door.server._admission.calls == 0)
