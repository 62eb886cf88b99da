"""A process that storms one door: ``python -m benchmarks.storm DOOR ADDRESS FILE`` and a plan on standard input.

One JSON object a line: ``{"at_once": N}`` calls all begun together, ``{"rate": R, "seconds": S}`` begun evenly whatever
becomes of those before, ``{"clients": C, "seconds": S}`` that ask again and again, each until the server is gone.
Back comes one line: how many calls ended how, and the milliseconds of those answered; with ``"each": 1`` also when
each call began, by the monotonic clock of the machine. gRPC calls share ``CHANNELS`` connections, each HTTP call has
its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc import aio

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.app.remote_http import DIAGNOSE, make_form
from irmsia.client.calls import DiagnoseOptions, make_request
from irmsia.wire import SERVICE
from irmsia.wire.status import DETAILS_KEY, status_from_bytes

CHANNELS = 50
PATIENCE_S = 90.0
OK, WRONG = "OK", "a wrong answer"
OVERLOADED = "OVERLOADED with a time to retry"
STOPPING = ("UNAVAILABLE UNAVAILABLE", "503 UNAVAILABLE")
"""What a server that is stopping says, by gRPC and by HTTP."""
GONE = ("bare", *STOPPING)
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]

Call = Callable[[], Awaitable[str]]
"""One call; how it ended."""


class GrpcDoor:
    """``DiagnoseDicom`` over many connections."""

    def __init__(self, address: str, data: bytes) -> None:
        self._request = make_request(data, DiagnoseOptions())
        self._digest = hashlib.sha256(data).hexdigest()
        self._channels = [aio.insecure_channel(address, options=_OPTIONS) for _ in range(CHANNELS)]
        self._calls = [channel.unary_unary(f"/{SERVICE}/DiagnoseDicom") for channel in self._channels]
        self._next = 0

    async def connect(self) -> None:
        """Every connection is up before the storm."""
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def ask(self) -> str:
        """One call; how it ended."""
        self._next = (self._next + 1) % CHANNELS
        try:
            reply = pb.Diagnosis.FromString(await self._calls[self._next](self._request, timeout=PATIENCE_S))
        except aio.AioRpcError as failure:
            return _ending(failure)
        return OK if reply.decision and reply.evidence.input_sha256 == self._digest else WRONG


def _ending(failure: aio.AioRpcError) -> str:
    """Status and code of a failed call; ``bare``: no word of ours in it."""
    details = next((value for key, value in failure.trailing_metadata() or () if key == DETAILS_KEY), None)
    status = status_from_bytes(details) if isinstance(details, bytes) else None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found = {part.TypeName() for part in status.details if part.Unpack(info) or part.Unpack(retry)} if status else set()
    if not info.reason:
        return f"bare {failure.code().name}"
    if failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and info.reason == "OVERLOADED":
        return OVERLOADED if "google.rpc.RetryInfo" in found else "OVERLOADED without a time to retry"
    return f"{failure.code().name} {info.reason}"


class HttpDoor:
    """``POST /api/v1/dicom/diagnose``, a connection a call."""

    def __init__(self, address: str, data: bytes) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._digest = hashlib.sha256(data).hexdigest()
        content_type, body = make_form((), data)
        head = f"POST {DIAGNOSE} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content_type}\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body

    async def connect(self) -> None:
        """Nothing is kept."""

    async def ask(self) -> str:
        """One call; how it ended."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, headers, body = await self._exchange()
        except TimeoutError:
            return "no answer in time"
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
            return f"bare {type(error).__name__}"
        return self._told(status, headers, body)

    async def _exchange(self) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection(self._host, int(self._port))
        try:
            sending = asyncio.ensure_future(_send(writer, self._request))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers["content-length"])) if "content-length" in headers else b""
            sending.cancel()
            return int(head[0].split()[1]), headers, body or await reader.read()
        finally:
            writer.close()

    def _told(self, status: int, headers: dict[str, str], body: bytes) -> str:
        try:
            data = json.loads(body)
        except ValueError:
            return f"bare {status}"
        if status == 200:
            good = data["decision"] and data["evidence"]["input_sha256"] == self._digest
            return OK if good else WRONG
        if status == 429:
            return OVERLOADED if headers.get("retry-after", "").isdecimal() else "OVERLOADED without a time to retry"
        return f"{status} {data.get('code')}" if isinstance(data, dict) and "code" in data else f"bare {status}"


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """A server that turns an image away need not read it to its end: what it said is in the reader."""
    try:
        writer.write(data)
        await writer.drain()
    except OSError:
        return


class Tally:
    """How calls ended."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.answered_ms: list[float] = []
        self.begun: list[tuple[float, str]] = []
        self.last_s = 0.0

    async def count(self, call: Call) -> str:
        """Make one call; how it ended."""
        began = time.monotonic()
        end = await call()
        self.last_s = time.monotonic()
        self.ends[end] += 1
        self.begun.append((began, end))
        if end == OK:
            self.answered_ms.append(1000 * (self.last_s - began))
        return end


async def _begin(plan: dict[str, Any], call: Call, tally: Tally) -> AsyncIterator[Awaitable[object]]:
    """The calls of a plan as they are due."""
    if "at_once" in plan:
        for _ in range(plan["at_once"]):
            yield tally.count(call)
        return
    end = time.monotonic() + plan["seconds"]
    if "clients" in plan:
        for _ in range(plan["clients"]):
            yield _again_and_again(call, tally, end)
        return
    due = time.monotonic()
    while due < end:
        yield tally.count(call)
        due += 1 / plan["rate"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _again_and_again(call: Call, tally: Tally, end: float) -> None:
    gone = False
    while time.monotonic() < end and not gone:
        gone = (await tally.count(call)).startswith(GONE)


async def carry_out(plan: dict[str, Any], call: Call) -> dict[str, Any]:
    """Make all calls of ``plan`` and wait for the last."""
    tally, began = Tally(), time.monotonic()
    tasks = [asyncio.ensure_future(one) async for one in _begin(plan, call, tally)]
    begun = time.monotonic()
    await asyncio.gather(*tasks)
    return {
        "ends": dict(tally.ends),
        "answered_ms": tally.answered_ms,
        "begun_s": begun - began,
        "seconds": tally.last_s - began,
        "each": tally.begun if plan.get("each") else [],
    }


async def main() -> None:
    """Carry out one plan after the other."""
    kind, address, file = sys.argv[1:]
    door = {"grpc": GrpcDoor, "http": HttpDoor}[kind](address, Path(file).read_bytes())
    await door.connect()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await carry_out(json.loads(line), door.ask)), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main())
