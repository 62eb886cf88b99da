"""``DicomDiagnosticService``: messages become calls of an `InferenceService` and answers become messages. No medicine.

Every call ends with a reply or with a google.rpc.Status that carries ErrorInfo; no text of a foreign exception leaves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from irmsia import telemetry
from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import (
    CancelledError,
    InternalError,
    InvalidRequestError,
    IrmsiaError,
    LimitExceededError,
    NotAnImageError,
    TimedOutError,
    from_code,
    from_system,
)
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.server.admission import Admission
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.wire import SERVICE, Diagnosis
from irmsia.wire.errors import row_of
from irmsia.wire.proto import diagnosis_to_message, health_to_message, models_to_message
from irmsia.wire.status import DETAILS_KEY, status_of

_log = telemetry.get_logger(__name__)

Work = Callable[[Any], Awaitable[Message]]


class _ItemFailedError(Exception):
    """The image could not be answered: ``answer`` says all that is known of it."""

    def __init__(self, answer: Diagnosis, error: IrmsiaError) -> None:
        super().__init__()
        self.answer = answer
        self.error = error


class DicomDiagnosticServicer:
    """Translation between the wire and ``service``. `handler` is what a grpc.aio server takes."""

    def __init__(self, service: InferenceService, config: GrpcServerConfig, admission: Admission) -> None:
        self._service = service
        self._config = config
        self._admission = admission

    def handler(self) -> grpc.GenericRpcHandler:
        """The three calls.

        DiagnoseDicom is unary on the wire, but served as a stream of one message: so a call is turned away before its
        image is taken in, and an image that is too large is told apart by our own error.
        """
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "HealthCheck": grpc.unary_unary_rpc_method_handler(
                    partial(self._guarded, "HealthCheck", self._health_check),
                    request_deserializer=pb.HealthCheckRequest.FromString,
                    response_serializer=pb.HealthCheckResponse.SerializeToString,
                ),
                "GetAvailableModels": grpc.unary_unary_rpc_method_handler(
                    partial(self._guarded, "GetAvailableModels", self._get_available_models),
                    request_deserializer=pb.GetAvailableModelsRequest.FromString,
                    response_serializer=pb.GetAvailableModelsResponse.SerializeToString,
                ),
                "DiagnoseDicom": grpc.stream_unary_rpc_method_handler(
                    partial(self._guarded, "DiagnoseDicom", self._diagnose_dicom),
                    response_serializer=pb.Diagnosis.SerializeToString,
                ),
            },
        )

    async def _guarded(self, call: str, work: Work, requests: Any, context: Any) -> Message:
        """The edge of every call: whatever happens becomes one typed status and at most one line of log."""
        try:
            return await work(context)
        except _ItemFailedError as failure:
            error, answer = failure.error, failure.answer
        except IrmsiaError as typed:
            error, answer = typed, None
        except (OSError, MemoryError) as lack:
            telemetry.log_event(_log, logging.ERROR, "call failed", call=call, at=telemetry.format_stack(lack))
            error, answer = from_system(lack, "the server cannot answer now"), None
        except aio.BaseError:  # the transport has ended the call already
            raise
        except Exception as bug:  # noqa: BLE001 - the edge of a call: logged without its text, answered as INTERNAL
            place = telemetry.format_stack(bug)
            telemetry.log_event(_log, logging.ERROR, "call failed", call=call, at=place)
            error, answer = InternalError("internal error; the server's log says where"), None
        await _abort(context, error, answer)
        raise AssertionError("abort always raises")

    async def _health_check(self, context: Any) -> Message:
        health = await asyncio.to_thread(self._service.health)
        if self._admission.closed:
            health = replace(health, ready=False, reason="the server is stopping")
        return health_to_message(health)

    async def _get_available_models(self, context: Any) -> Message:
        return models_to_message(await asyncio.to_thread(self._service.models))

    async def _diagnose_dicom(self, context: Any) -> Message:
        began = time.monotonic()
        self._admission.enter()
        context.add_done_callback(lambda _: self._admission.leave())  # over only when the reply is out
        limit = context.time_remaining()
        deadline = began + (self._config.request_s if limit is None else limit)
        request = await self._receive(context, deadline)
        with self._admission.hold(len(request.source) if isinstance(request.source, bytes) else 0):
            answer = await self._answer(request, deadline)
        if answer.error is not None:
            raise _ItemFailedError(answer, from_code(answer.error.code, answer.error.message))
        return diagnosis_to_message(answer)

    async def _receive(self, context: Any, deadline: float) -> DiagnoseRequest:
        """Wait for a turn, then take the one message in."""
        async with _until(deadline, "the request waited too long to be received"):
            await self._admission.receiving.acquire()
        try:
            async with _until(min(deadline, time.monotonic() + self._config.receive_s), "the request came too slowly"):
                data = await context.read()
            return self._request_of(data, deadline)
        finally:
            self._admission.receiving.release()

    def _request_of(self, data: Any, deadline: float) -> DiagnoseRequest:
        if data is aio.EOF:
            raise InvalidRequestError("the call holds no request")
        try:
            message = pb.DiagnoseDicomRequest.FromString(data)
        except DecodeError:
            raise InvalidRequestError("the request is no DiagnoseDicomRequest") from None
        content = message.content
        if len(content) > self._config.image_bytes:
            raise LimitExceededError(f"an image in one message has at most {self._config.image_bytes} bytes")
        if not content:
            raise NotAnImageError("the image holds no bytes")  # as every door says of an empty file
        return DiagnoseRequest(
            input=_optional(message, "input"),
            source=content,
            heatmap=message.heatmap,
            overlay=message.overlay,
            term=_optional(message, "term"),
            segmentation=message.segmentation,
            model=_optional(message, "model"),
            deadline=deadline,
            all_findings=message.all_findings,
        )

    async def _answer(self, request: DiagnoseRequest, deadline: float) -> Diagnosis:
        """The service's answer. A caller that goes away, or a deadline that passes, cancels the work."""
        answer = asyncio.wrap_future(self._service.submit(request))
        try:
            async with _until(deadline, "no answer within the deadline"):
                return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the caller went away
                raise
            raise CancelledError("the service dropped the request") from None


@asynccontextmanager
async def _until(deadline: float, message: str) -> AsyncIterator[None]:
    """Raise TimedOutError with ``message`` when the monotonic ``deadline`` passes inside."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            yield
    except TimeoutError:
        raise TimedOutError(message) from None


def _optional(message: pb.DiagnoseDicomRequest, name: Any) -> str | None:
    return getattr(message, name) if message.HasField(name) else None


async def _abort(context: Any, error: IrmsiaError, answer: Diagnosis | None) -> None:
    status = status_of(error, answer)
    code = grpc.StatusCode[row_of(error).grpc]
    await context.abort(code, status.message, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),))
