"""``DiagnoseDicomStream``: one image in chunks, acknowledged as they are kept; progress and the answer come back.

A call that is cut leaves its upload behind, and another call goes on with it. An answered image leaves nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from grpc import aio

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import InputError, InvalidRequestError, UnavailableError
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, Stage
from irmsia.server.admission import Admission
from irmsia.server.grpc.answering import answer, check_beside, check_content, request_of
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.edge import ItemFailedError, client_of, parsed, until, write
from irmsia.server.grpc.progress import ProgressFeed
from irmsia.server.uploads import Received, Uploads
from irmsia.wire import Diagnosis
from irmsia.wire.proto import diagnosis_to_message

_ACK_BYTES = 1 << 20
"""While more is on its way already, an acknowledgement is due only after so many bytes."""

_RECEIVED_PERCENT = 50.0
"""How much of the whole is done when every byte is here; the service's own 100 % are the other half."""


class DiagnoseStream:
    """Serves the call. One object serves them all."""

    def __init__(
        self, service: InferenceService, config: GrpcServerConfig, *, admission: Admission, uploads: Uploads
    ) -> None:
        self._service = service
        self._config = config
        self._admission = admission
        self._uploads = uploads

    async def answer_call(self, context: Any) -> None:
        """One call, from its first message to its answer; raises what `guarded` makes a status of."""
        self._admission.enter(stream=True)
        context.add_done_callback(lambda _: self._admission.leave(stream=True))  # over only when the reply is out
        limit = context.time_remaining()
        call = _Call(context, self._config, math.inf if limit is None else time.monotonic() + limit)
        opened = await call.receive_open()
        upload_id = opened.upload_id if opened.HasField("upload_id") else self._uploads.open(_size(opened))
        with self._uploads.coming(upload_id) as acknowledged:
            received = await self._receive(call, opened, upload_id, acknowledged=acknowledged)
        try:
            diagnosis = await self._answer(call, opened.options, received)
            await call.send(progress=pb.Progress(stage=pb.STAGE_DONE, percent=100.0))
            await call.send(diagnosis=diagnosis_to_message(diagnosis))
        except (ItemFailedError, InputError) as failed:
            if isinstance(getattr(failed, "error", failed), InputError):
                await self._uploads.give_up(upload_id)  # these bytes would fail again
            raise
        await self._uploads.give_up(upload_id)

    async def _receive(self, call: _Call, opened: pb.UploadOpen, upload_id: str, *, acknowledged: int) -> Received:
        """Take the chunks in until the last one."""
        await call.send(ack=pb.UploadAck(upload_id=upload_id, received=acknowledged))
        async with aclosing(call.chunks()) as chunks:
            async for chunk in chunks:
                if not chunk.last and self._admission.closed_for() > self._config.grace_s / 2:
                    raise UnavailableError("the server is stopping; send the image to another one")
                kept = await self._uploads.append(upload_id, chunk.offset, chunk.data)
                if kept - acknowledged >= _ACK_BYTES or chunk.last or not call.more_is_here:
                    acknowledged = kept
                    await call.send(ack=pb.UploadAck(upload_id=upload_id, received=kept))
                    await call.tell(Stage.RECEIVED, _RECEIVED_PERCENT * _share(kept, opened))
        sha256 = opened.sha256 if opened.HasField("sha256") else None
        received = await self._uploads.finish(upload_id, size=_size(opened), sha256=sha256)
        await call.tell(Stage.RECEIVED, _RECEIVED_PERCENT)
        return received

    async def _answer(self, call: _Call, options: pb.DiagnoseOptions, received: Received) -> Diagnosis:
        check_content(received.source if isinstance(received.source, bytes) else b"on disk")
        deadline = call.deadline if math.isfinite(call.deadline) else time.monotonic() + self._config.request_s
        request = request_of(options, received.source, client=client_of(call.context), deadline=deadline)
        in_memory = received.size if isinstance(received.source, bytes) else 0
        async with self._uploads.using(received.upload_id):
            with self._admission.hold(in_memory):
                diagnosis = await self._answer_with_progress(call, request, deadline)
        if diagnosis.error is not None:
            raise ItemFailedError(diagnosis)
        return diagnosis

    async def _answer_with_progress(self, call: _Call, request: DiagnoseRequest, deadline: float) -> Diagnosis:
        feed = ProgressFeed()
        answering = asyncio.create_task(answer(self._service, replace(request, progress=feed.tell), deadline))
        answering.add_done_callback(lambda _: feed.end())
        try:
            while news := await feed.take():
                for stage, percent in news:
                    if stage is not Stage.DONE:  # said once the answer is known to be one
                        await call.tell(stage, _RECEIVED_PERCENT + percent * (100.0 - _RECEIVED_PERCENT) / 100.0)
            return await answering
        finally:
            answering.cancel()


class _Call:
    """One call's messages. A peer that sends or reads too slowly ends as TIMED_OUT."""

    def __init__(self, context: Any, config: GrpcServerConfig, deadline: float) -> None:
        self.context = context
        self.deadline = deadline
        self._config = config
        self._patience = config.receive_s
        self._stage = Stage.RECEIVED
        self._percent = 0.0
        self._ahead: asyncio.Future[Any] | None = None

    @property
    def more_is_here(self) -> bool:
        """The next message has come already."""
        return self._ahead is not None and self._ahead.done()

    async def receive_open(self) -> pb.UploadOpen:
        """The first message.

        Raises:
            InvalidRequestError: it opens no upload.
            LimitExceededError: it holds too much.
        """
        data = await self._read(self.context.read())
        message = pb.DiagnoseStreamRequest() if data is aio.EOF else parsed(pb.DiagnoseStreamRequest, data)
        if message.WhichOneof("part") != "open":
            raise InvalidRequestError("the first message must open an upload")
        check_beside(len(data))
        return message.open

    async def chunks(self) -> AsyncGenerator[pb.UploadChunk, None]:
        """The chunks up to the last one; while one is worked on, the next is on its way.

        Raises:
            InvalidRequestError: another message, or the call ends before the last chunk.
        """
        async with self._reading_ahead():
            while self._ahead is not None:
                data, self._ahead = await self._read(self._ahead), None
                if data is aio.EOF:
                    raise InvalidRequestError("the call ended before the last chunk")
                message = parsed(pb.DiagnoseStreamRequest, data)
                if message.WhichOneof("part") != "chunk":
                    raise InvalidRequestError("after the first message there are chunks alone")
                if not message.chunk.last:
                    self._ahead = asyncio.ensure_future(self.context.read())
                yield message.chunk

    async def tell(self, stage: Stage, percent: float) -> None:
        """Send progress that does not fall behind what was told."""
        if stage < self._stage:
            return
        self._stage, self._percent = stage, max(self._percent, min(percent, 100.0))
        await self.send(progress=pb.Progress(stage=f"STAGE_{stage.name}", percent=self._percent))

    async def send(self, **part: Any) -> None:
        """Send one message.

        Raises:
            TimedOutError: the client does not read.
        """
        await write(self.context, pb.DiagnoseStreamResponse(**part), self._config.receive_s)

    @asynccontextmanager
    async def _reading_ahead(self) -> AsyncIterator[None]:
        self._ahead = asyncio.ensure_future(self.context.read())
        try:
            yield
        finally:
            if self._ahead is not None:
                self._ahead.cancel()

    async def _read(self, reading: Any) -> Any:
        """The next message. Waiting spends patience, every byte gives some back: so no chunk may take longer than
        ``receive_s``, and a sender of tiny ones must keep up a least rate.
        """
        began = time.monotonic()
        async with until(min(self.deadline, began + self._patience), "the image came too slowly"):
            data = await reading
        earned = 0 if data is aio.EOF else len(data) / self._config.least_bytes_s
        self._patience = min(self._config.receive_s, self._patience - (time.monotonic() - began) + earned)
        return data


def _size(opened: pb.UploadOpen) -> int | None:
    return opened.size if opened.HasField("size") else None


def _share(kept: int, opened: pb.UploadOpen) -> float:
    """How much of the image is here, 0..1; 0 where its size was not said."""
    size = _size(opened)
    return kept / size if size else 0.0
