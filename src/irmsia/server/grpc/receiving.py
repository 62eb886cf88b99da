"""Taking in the one message of a call, when it is that call's turn."""

from __future__ import annotations

import time
from typing import Any

from grpc import aio

from irmsia.errors import InvalidRequestError
from irmsia.server.admission import Admission
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.edge import until


async def receive_one(context: Any, admission: Admission, config: GrpcServerConfig, *, deadline: float) -> bytes:
    """Wait for a turn, then take the message in.

    Raises:
        TimedOutError: the monotonic ``deadline`` passed, or the message came too slowly.
        InvalidRequestError: there is none.
    """
    lanes = admission.receiving
    async with until(deadline, "the request waited too long to be received"):
        await lanes.wait_for_turn()
    data = await lanes.take(context.read(), min(config.receive_s, deadline - time.monotonic()))
    if data is aio.EOF:
        raise InvalidRequestError("the call holds no request")
    return bytes(data)
