"""A real gRPC server of streams and batches that notes what it hears, and a proxy that cuts."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import InvalidRequestError, IrmsiaError, NotFoundError, TimedOutError
from irmsia.wire import SERVICE
from irmsia.wire.errors import row_of
from irmsia.wire.status import DETAILS_KEY, status_of

Answerer = Callable[[pb.DiagnoseDicomRequest], pb.Diagnosis]


def answer_to(request: pb.DiagnoseDicomRequest) -> pb.Diagnosis:
    """ACCEPT, with the digest of what came."""
    digest = hashlib.sha256(request.content).hexdigest()
    return pb.Diagnosis(decision=pb.DECISION_ACCEPT, rule=8, evidence=pb.Evidence(input_sha256=digest))


@dataclass
class Peer:
    """What one server keeps and heard. ``answer`` may raise an `IrmsiaError`."""

    answer: Answerer = answer_to
    ack_every: int = 1
    forgetful: bool = False
    uploads: dict[str, bytearray] = field(default_factory=dict)
    opened: list[tuple[str | None, int]] = field(default_factory=list)
    """Every ``open``: the upload it named, and the offset that was told."""
    chunks: list[tuple[int, int]] = field(default_factory=list)
    """Every chunk: offset and length."""
    regressions: int = 0
    """Chunks that began before what had been acknowledged when their call began."""
    options: list[pb.DiagnoseOptions] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    patience_s: float | None = None
    """How long the next image of a batch is waited for."""
    given_up: int = 0
    """Batches that were ended for want of images."""
    ended: int = 0
    """Batches that came to their end."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def handler(self) -> grpc.GenericRpcHandler:
        """The calls that this server knows."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "HealthCheck": grpc.unary_unary_rpc_method_handler(
                    self.health, pb.HealthCheckRequest.FromString, pb.HealthCheckResponse.SerializeToString
                ),
                "DiagnoseDicom": grpc.unary_unary_rpc_method_handler(
                    self.unary, pb.DiagnoseDicomRequest.FromString, pb.Diagnosis.SerializeToString
                ),
                "DiagnoseDicomStream": grpc.stream_stream_rpc_method_handler(
                    self.stream, pb.DiagnoseStreamRequest.FromString, pb.DiagnoseStreamResponse.SerializeToString
                ),
                "DiagnoseBatchStream": grpc.stream_stream_rpc_method_handler(
                    self.batch,
                    pb.DiagnoseBatchStreamRequest.FromString,
                    pb.DiagnoseBatchStreamResponse.SerializeToString,
                ),
            },
        )

    async def health(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        """Ready."""
        return pb.HealthCheckResponse(ready=True)

    async def unary(self, request: pb.DiagnoseDicomRequest, context: Any) -> pb.Diagnosis:
        """One image in one message."""
        self.metadata.append(dict(context.invocation_metadata()))
        return await self._answered(request, context)

    async def stream(self, requests: Any, context: Any) -> AsyncIterator[pb.DiagnoseStreamResponse]:
        """An upload that is kept under its id over cuts."""
        self.metadata.append(dict(context.invocation_metadata()))
        opened = (await anext(aiter(requests))).open
        identity = opened.upload_id or f"upload-{next(self.numbers)}"
        if opened.upload_id and (self.forgetful or identity not in self.uploads):
            await abort(context, NotFoundError("there is no such upload"))
        kept = self.uploads.setdefault(identity, bytearray())
        told = len(kept)
        self.opened.append((opened.upload_id or None, told))
        self.options.append(opened.options)
        yield pb.DiagnoseStreamResponse(ack=pb.UploadAck(upload_id=identity, received=told))
        async for request in requests:
            chunk = request.chunk
            self.chunks.append((chunk.offset, len(chunk.data)))
            self.regressions += chunk.offset < told
            if chunk.offset != len(kept):
                await abort(context, InvalidRequestError("a chunk is out of its place"))
            kept += chunk.data
            if len(self.chunks) % self.ack_every == 0:
                yield pb.DiagnoseStreamResponse(ack=pb.UploadAck(upload_id=identity, received=len(kept)))
            if chunk.last:
                break
        for stage, percent in ((pb.STAGE_RECEIVED, 0.0), (pb.STAGE_DECODING, 10.0), (pb.STAGE_DONE, 100.0)):
            yield pb.DiagnoseStreamResponse(progress=pb.Progress(stage=stage, percent=percent))
        answer = await self._answered(pb.DiagnoseDicomRequest(content=bytes(kept)), context)
        yield pb.DiagnoseStreamResponse(diagnosis=answer)

    async def batch(self, requests: Any, context: Any) -> AsyncIterator[pb.DiagnoseBatchStreamResponse]:
        """Answers one after the other, each with its id."""
        self.metadata.append(dict(context.invocation_metadata()))
        while True:
            try:
                async with asyncio.timeout(self.patience_s):
                    request = await anext(aiter(requests), None)
            except TimeoutError:
                self.given_up += 1
                await abort(context, TimedOutError("the next image did not come in time"))
            if request is None:
                break
            self.items.append(request.id)
            try:
                answer = await asyncio.to_thread(self.answer, request.item)
            except IrmsiaError as error:
                answer = pb.Diagnosis(error=pb.Problem(code=error.code, message=error.message))
            yield pb.DiagnoseBatchStreamResponse(answer=pb.BatchAnswer(id=request.id, diagnosis=answer))
        self.ended += 1
        yield pb.DiagnoseBatchStreamResponse(summary=pb.BatchSummary())

    async def _answered(self, request: pb.DiagnoseDicomRequest, context: Any) -> pb.Diagnosis:
        try:
            return await asyncio.to_thread(self.answer, request)
        except IrmsiaError as error:
            await abort(context, error)
            raise AssertionError("abort always raises") from None


async def abort(context: Any, error: IrmsiaError) -> None:
    """End a call as the project's own server does."""
    status = status_of(error)
    trailers = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(grpc.StatusCode[row_of(error).grpc], status.message, trailing_metadata=trailers)


class Cutter:
    """A proxy that cuts one connection after the other when ``budgets`` of bytes are used up, then lets all through."""

    def __init__(self, target: str, budgets: list[int]) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._budgets = budgets
        self.cuts = 0
        self.carried = 0
        """Bytes towards the server."""
        self.target = ""
        self._server: asyncio.Server | None = None
        self._serving: set[Any] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        budget = self._budgets.pop(0) if self._budgets else None
        back = asyncio.ensure_future(self._pipe(there_reader, writer))
        try:
            if await self._pipe(reader, there_writer, budget, counted=True):
                self.cuts += 1
        except asyncio.CancelledError:  # of `close`
            return
        finally:
            back.cancel()
            for end in (writer, there_writer):
                end.transport.abort()
            await asyncio.gather(back, return_exceptions=True)

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        budget: int | None = None,
        *,
        counted: bool = False,
    ) -> bool:
        """Carry bytes until the end, or until the budget is used up: true then."""
        try:
            while data := await reader.read(65536):
                data = data[:budget]
                self.carried += len(data) if counted else 0
                writer.write(data)
                await writer.drain()
                if budget is not None and (budget := budget - len(data)) == 0:
                    return True
        except OSError:
            pass
        return False


class PeerDoor:
    """A `Peer` served on a thread with a loop of its own, with proxies before it on demand."""

    def __init__(self, peer: Peer, credentials: grpc.ServerCredentials | None = None) -> None:
        self.peer = peer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="peer")
        self._thread.start()
        self._cutters: list[Cutter] = []
        self._credentials = credentials
        self.target = self.call(self._start("127.0.0.1:0"))

    def call(self, work):  # type: ignore[no-untyped-def]
        """Run a coroutine on the server's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def cutter(self, budgets: list[int]) -> Cutter:
        """A proxy before this server."""
        cutter = Cutter(self.target, budgets)
        self.call(cutter.start())
        self._cutters.append(cutter)
        return cutter

    def stop(self) -> None:
        """The server goes away at once; its port stays known."""
        self.call(self._server.stop(0))

    def restart(self) -> None:
        """A server at the same address again, with the same `Peer`."""
        self.call(self._start(self.target))

    def close(self) -> None:
        """End everything."""
        for cutter in self._cutters:
            self.call(cutter.close())
        self.stop()
        self.call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self, address: str) -> str:
        self._server = aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self.peer.handler(),))
        if self._credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, self._credentials)
        await self._server.start()
        return f"127.0.0.1:{port}"


@contextmanager
def open_peer(peer: Peer | None = None, credentials: grpc.ServerCredentials | None = None) -> Iterator[PeerDoor]:
    """A served `Peer`."""
    door = PeerDoor(peer or Peer(), credentials)
    try:
        yield door
    finally:
        door.close()
