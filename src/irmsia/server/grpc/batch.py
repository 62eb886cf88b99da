"""``DiagnoseBatch`` and ``DiagnoseBatchStream``: several images in one call, each answered or failed alone.

Images of a batch give way to single ones, and no call has more of them in work than its share: the next is not read
before there is room. A full queue makes a batch wait; it never fails an item.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from grpc import aio

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import InvalidRequestError, LimitExceededError, OverloadedError, TimedOutError, UnavailableError
from irmsia.findings.summary import summarise, summarise_numbered
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, Priority
from irmsia.server.admission import Admission
from irmsia.server.grpc.answering import answer, check_beside, check_content, check_size, request_of
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.edge import client_of, parsed, typed, write
from irmsia.server.grpc.receiving import receive_one
from irmsia.wire import Diagnosis, Problem
from irmsia.wire.proto import diagnosis_to_message, summary_to_message

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0
"""Between two tries to hand an image to a full queue."""

_ENTRY_BYTES = 1024
"""What an item may take in a message besides its image."""

_MAX_ID_CHARACTERS = 256


class DiagnoseBatch:
    """Serves both calls. One object serves them all."""

    def __init__(self, service: InferenceService, config: GrpcServerConfig, admission: Admission) -> None:
        self._service = service
        self._config = config
        self._admission = admission

    async def answer_unary(self, context: Any) -> pb.DiagnoseBatchResponse:
        """One message of images, one of answers; raises what `guarded` makes a status of."""
        began = time.monotonic()
        self._admission.enter()
        context.add_done_callback(lambda _: self._admission.leave())  # over only when the reply is out
        limit = context.time_remaining()
        deadline = began + (self._config.request_s if limit is None else limit)
        data = await receive_one(context, self._admission, self._config, deadline=deadline)
        items = self._items_of(data)
        if limit is None:
            deadline = began + self._config.request_s * max(1, len(items))
        with self._admission.hold(len(data)):
            del data
            answers = await self._answer_all(items, client_of(context), deadline)
        return pb.DiagnoseBatchResponse(
            answers=[diagnosis_to_message(one) for one in answers], summary=summary_to_message(summarise(answers))
        )

    async def answer_stream(self, context: Any) -> None:
        """Images as they come, answers as they are ready; raises what `guarded` makes a status of."""
        self._admission.enter(stream=True)
        context.add_done_callback(lambda _: self._admission.leave(stream=True))
        await _StreamCall(context, self._service, self._config, admission=self._admission).answer_all()

    def _items_of(self, data: bytes) -> list[pb.DiagnoseDicomRequest]:
        most = self._config.image_bytes
        items = list(parsed(pb.DiagnoseBatchRequest, data).items)
        if len(items) > self._config.batch_items:
            raise LimitExceededError(f"a batch has at most {self._config.batch_items} images")
        if len(data) > most + _ENTRY_BYTES * len(items):
            raise LimitExceededError(f"a batch in one message has at most {most} bytes")
        return items

    async def _answer_all(self, items: list[pb.DiagnoseDicomRequest], client: str, deadline: float) -> list[Diagnosis]:
        room = _Room(self._config.batch_places, self._config.image_bytes)
        answers: list[Diagnosis] = [Diagnosis()] * len(items)

        async def answer_one(index: int, request: DiagnoseRequest, size: int) -> None:
            with room.leaving(size):
                answers[index] = await _answer_item(self._service, request, deadline, most=self._config.image_bytes)

        async with _together() as tasks:
            for index, item in enumerate(items):
                await room.free()
                request, size = _request_of(item, client, deadline)
                await room.enter(size)
                tasks.create_task(answer_one(index, request, size))
        return answers


class _StreamCall:
    """One call of DiagnoseBatchStream."""

    def __init__(
        self, context: Any, service: InferenceService, config: GrpcServerConfig, *, admission: Admission
    ) -> None:
        limit = context.time_remaining()
        self._deadline = math.inf if limit is None else time.monotonic() + limit
        self._context = context
        self._client = client_of(context)
        self._service = service
        self._config = config
        self._admission = admission
        self._room = _Room(config.batch_places, config.image_bytes)
        self._ids: set[str] = set()
        self._slim: list[tuple[int, Diagnosis]] = []
        self._writing = asyncio.Lock()

    async def answer_all(self) -> None:
        """Take images in while there is room, answer each, sum up."""
        async with _together() as tasks:
            while (came := await self._read()) is not None:
                message, message_bytes = came
                request, size = _request_of(message.item, self._client, self._deadline)
                check_beside(message_bytes, size)
                name = message.id
                del came, message  # it holds the image once more
                await self._room.enter(size)
                tasks.create_task(self._answer_one(name, request, index=len(self._ids) - 1, size=size))
                del request  # else the image would stay while the next one is waited for
        summary = summary_to_message(summarise_numbered(self._slim))
        await self._write(pb.DiagnoseBatchStreamResponse(summary=summary))

    async def _answer_one(self, name: str, request: DiagnoseRequest, *, index: int, size: int) -> None:
        with self._room.leaving(size):
            async with _held(self._admission, size):
                diagnosis = await _answer_item(self._service, request, self._deadline, most=self._config.image_bytes)
            self._slim.append((index, _slim(diagnosis)))
            response = pb.BatchAnswer(id=name, diagnosis=diagnosis_to_message(diagnosis))
            await self._write(pb.DiagnoseBatchStreamResponse(answer=response))

    async def _write(self, message: pb.DiagnoseBatchStreamResponse) -> None:
        async with self._writing:
            await write(self._context, message, self._config.receive_s)

    async def _read(self) -> tuple[pb.DiagnoseBatchStreamRequest, int] | None:
        """The next image when there is room for one, and the bytes of its message; null at the end."""
        await self._room.free()
        data = await self._read_while_wanted()
        if data is aio.EOF:
            return None
        message = parsed(pb.DiagnoseBatchStreamRequest, data)
        self._add_id(message.id)
        return message, len(data)

    async def _read_while_wanted(self) -> Any:
        """The next message. A client may pause as long as it has images in work, and ``receive_s`` longer."""
        reading = asyncio.ensure_future(self._context.read())
        began = time.monotonic()
        try:
            while not reading.done():
                if self._admission.closed_for() > self._config.grace_s / 2:
                    await self._room.empty()
                    raise UnavailableError("the server is stopping; send what was not answered to another one")
                patience = max(began, self._room.busy_until()) + self._config.receive_s - time.monotonic()
                if patience <= 0:
                    raise TimedOutError("the next image did not come in time")
                await asyncio.wait({reading}, timeout=min(patience, _LONGEST_WAIT_S))
            return reading.result()
        finally:
            reading.cancel()

    def _add_id(self, name: str) -> None:
        if len(name) > _MAX_ID_CHARACTERS:
            raise InvalidRequestError(f"an id has at most {_MAX_ID_CHARACTERS} characters")
        if name in self._ids:
            raise InvalidRequestError("two images have the same id")
        if len(self._ids) >= self._config.batch_items:
            raise LimitExceededError(f"a batch has at most {self._config.batch_items} images")
        self._ids.add(name)


class _Room:
    """Bounds the images of one call that are in work, by number and by bytes; one alone always has room."""

    def __init__(self, places: int, most_bytes: int) -> None:
        self._places = places
        self._most_bytes = most_bytes
        self._inside = 0
        self._bytes = 0
        self._left = time.monotonic()
        self._event = asyncio.Event()

    def busy_until(self) -> float:
        """When the last image was done, on the monotonic clock; now while there is one."""
        return time.monotonic() if self._inside else self._left

    async def free(self, size: int = 0) -> None:
        """Return when there is room for an image of ``size`` bytes; one waiter at a time."""
        while self._inside and (self._inside >= self._places or self._bytes + size > self._most_bytes):
            await self._left_event()

    async def empty(self) -> None:
        """Return when no image is in work; the same waiter."""
        while self._inside:
            await self._left_event()

    async def enter(self, size: int) -> None:
        """Wait until the room is free, and count an image of ``size`` bytes; `leaving` must follow."""
        await self.free(size)
        self._inside += 1
        self._bytes += size

    @contextmanager
    def leaving(self, size: int) -> Iterator[None]:
        """Give the room back at the end."""
        try:
            yield
        finally:
            self._inside -= 1
            self._bytes -= size
            self._left = time.monotonic()
            self._event.set()

    async def _left_event(self) -> None:
        self._event.clear()
        await self._event.wait()


def _request_of(item: pb.DiagnoseDicomRequest, client: str, deadline: float) -> tuple[DiagnoseRequest, int]:
    """What an item asks, and the bytes of its image; each look at the message's own copies them."""
    content = item.content
    limit = deadline if math.isfinite(deadline) else None
    return request_of(item, content, client=client, deadline=limit, priority=Priority.BATCH), len(content)


async def _answer_item(service: InferenceService, request: DiagnoseRequest, deadline: float, *, most: int) -> Diagnosis:
    """The answer, or the failure as an answer: one bad image never fails its batch."""
    try:
        if isinstance(request.source, bytes):
            check_content(request.source)
            check_size(len(request.source), most)
        return await _answer_in_time(service, request, deadline)
    except Exception as failure:  # noqa: BLE001 - the edge of an item: logged without its text, it fails alone
        error = typed("DiagnoseBatch item", failure)
        return Diagnosis(input=request.input, error=Problem(error.code, error.message))


async def _answer_in_time(service: InferenceService, request: DiagnoseRequest, deadline: float) -> Diagnosis:
    """`answer`, tried until the queue has room."""
    while True:
        try:
            return await answer(service, request, deadline)
        except OverloadedError as full:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(min(max(full.retry_after_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))


@asynccontextmanager
async def _held(admission: Admission, size: int) -> AsyncIterator[None]:
    """Count the bytes of an image when there is room for them among those of all calls."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(admission.hold(size))
                break
            except OverloadedError as full:
                await asyncio.sleep(min(full.retry_after_s, _LONGEST_WAIT_S))
        yield


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises the first failure itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _slim(diagnosis: Diagnosis) -> Diagnosis:
    """What a summary needs of it, without its pictures."""
    return replace(diagnosis, findings=(), frames=None, explanation=None, segmentation=None, measures=(), evidence=None)
