"""``DicomDiagnosticService``: messages become calls of an `InferenceService` and answers become messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.server.admission import Admission
from irmsia.server.grpc.answering import answer, check_beside, check_content, check_size, request_of
from irmsia.server.grpc.batch import DiagnoseBatch
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.edge import ItemFailedError, Observed, client_of, guarded, parsed, watch
from irmsia.server.grpc.receiving import receive_one
from irmsia.server.grpc.stream import DiagnoseStream
from irmsia.server.grpc.turning_away import TurningAway
from irmsia.server.health import health_of
from irmsia.server.uploads import Uploads
from irmsia.wire import SERVICE
from irmsia.wire.proto import diagnosis_to_message, health_to_message, models_to_message

T = TypeVar("T", bound=Message | None)


class DicomDiagnosticServicer:
    """Translation between the wire and ``service``. `handler` is what a grpc.aio server takes."""

    def __init__(
        self,
        service: InferenceService,
        config: GrpcServerConfig,
        *,
        admission: Admission,
        uploads: Uploads,
        observed: Observed | None = None,
    ) -> None:
        self._observed = observed
        self._service = service
        self._config = config
        self._admission = admission
        self._stream = DiagnoseStream(service, config, admission=admission, uploads=uploads)
        self._batch = DiagnoseBatch(service, config, admission)

    def handler(self) -> grpc.GenericRpcHandler:
        """The calls.

        DiagnoseDicom and DiagnoseBatch are unary on the wire, but served as a stream of one message: so a call is
        turned away before its images are taken in, and what is too large is told apart by our own error.
        """
        turning_away = TurningAway(self._admission, self._observed)
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "HealthCheck": grpc.unary_unary_rpc_method_handler(
                    self._guard("HealthCheck", self._health_check),
                    request_deserializer=pb.HealthCheckRequest.FromString,
                    response_serializer=pb.HealthCheckResponse.SerializeToString,
                ),
                "GetAvailableModels": grpc.unary_unary_rpc_method_handler(
                    self._guard("GetAvailableModels", self._get_available_models),
                    request_deserializer=pb.GetAvailableModelsRequest.FromString,
                    response_serializer=pb.GetAvailableModelsResponse.SerializeToString,
                ),
                "DiagnoseDicom": grpc.stream_unary_rpc_method_handler(
                    turning_away.before("DiagnoseDicom", self._guard("DiagnoseDicom", self._diagnose_dicom)),
                    response_serializer=pb.Diagnosis.SerializeToString,
                ),
                "DiagnoseDicomStream": grpc.stream_stream_rpc_method_handler(
                    self._guard("DiagnoseDicomStream", self._stream.answer_call),
                    response_serializer=pb.DiagnoseStreamResponse.SerializeToString,
                ),
                "DiagnoseBatch": grpc.stream_unary_rpc_method_handler(
                    self._guard("DiagnoseBatch", self._batch.answer_unary),
                    response_serializer=pb.DiagnoseBatchResponse.SerializeToString,
                ),
                "DiagnoseBatchStream": grpc.stream_stream_rpc_method_handler(
                    self._guard("DiagnoseBatchStream", self._batch.answer_stream),
                    response_serializer=pb.DiagnoseBatchStreamResponse.SerializeToString,
                ),
            },
        )

    def _guard(self, call: str, work: Callable[[Any], Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        return partial(guarded, call, self._config.receive_s, partial(self._watched, call, work))

    async def _watched(self, call: str, work: Callable[[Any], Awaitable[T]], context: Any) -> T:
        if self._observed is not None:
            watch(call, self._observed, context)
        return await work(context)

    async def _health_check(self, context: Any) -> Message:
        return health_to_message(await health_of(self._service, self._admission))

    async def _get_available_models(self, context: Any) -> Message:
        return models_to_message(await asyncio.to_thread(self._service.models))

    async def _diagnose_dicom(self, context: Any) -> Message:
        began = time.monotonic()
        self._admission.enter()
        context.add_done_callback(lambda _: self._admission.leave())  # over only when the reply is out
        client = client_of(context)
        limit = context.time_remaining()
        deadline = began + (self._config.request_s if limit is None else limit)
        with self._admission.coming(client):
            data = await receive_one(context, self._admission, self._config, deadline=deadline)
        request = self._request_of(data, client=client, deadline=deadline)
        del data
        with self._admission.hold(len(request.source) if isinstance(request.source, bytes) else 0):
            diagnosis = await answer(self._service, request, deadline)
        if diagnosis.error is not None:
            raise ItemFailedError(diagnosis)
        return diagnosis_to_message(diagnosis)

    def _request_of(self, data: bytes, *, client: str, deadline: float) -> DiagnoseRequest:
        message = parsed(pb.DiagnoseDicomRequest, data)
        content = message.content
        check_size(len(content), self._config.image_bytes)
        check_beside(len(data), len(content))
        check_content(content)
        return request_of(message, content, client=client, deadline=deadline)
