"""A blocking client of the gRPC door, safe to use from several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.client.calls import (
    DiagnoseOptions,
    check_target,
    failed_answer,
    make_request,
    read_answer,
    read_failure,
    read_source,
)
from irmsia.errors import CancelledError, IrmsiaError, UnavailableError
from irmsia.wire import SERVICE, Diagnosis, ModelInfo, ServiceHealth
from irmsia.wire.proto import health_from_message, models_from_message

T = TypeVar("T")

_CLOSED = "the client was closed"

_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # images go to the server that was named, never through a proxy of the environment
]


class DicomDiagnosticClient:
    """Asks one server. Use it as a context manager, or call `close`.

    >>> with DicomDiagnosticClient("127.0.0.1:50051") as client:  # doctest: +SKIP
    ...     print(client.diagnose_dicom(Path("chest.dcm")).decision)

    Every method raises UnavailableError when no server answers at ``target`` ("HOST:PORT"), TimedOutError after
    ``timeout`` seconds (null: never), and the server's own error as the same class of `irmsia.errors`.
    """

    def __init__(self, target: str = "127.0.0.1:50051") -> None:
        """Open a channel; nothing is sent yet. Raises InvalidRequestError when ``target`` is no HOST:PORT."""
        self.target = check_target(target)
        self._closed = False
        self._channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._health = self._call("HealthCheck", pb.HealthCheckResponse)
        self._models = self._call("GetAvailableModels", pb.GetAvailableModelsResponse)
        self._diagnose = self._call("DiagnoseDicom", pb.Diagnosis)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls that are under way end with CancelledError. Twice is once."""
        self._closed = True
        self._channel.close()

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Return when the server takes connections, at most ``timeout`` seconds from now.

        Raises:
            UnavailableError: it does not.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout)
        except grpc.FutureTimeoutError:
            raise UnavailableError(f"no server answers at {self.target}") from None

    def health_check(self, *, timeout: float | None = 5.0) -> ServiceHealth:
        """Whether requests are taken, by which model, and how many are waiting."""
        return health_from_message(self._ask(self._health, pb.HealthCheckRequest().SerializeToString(), timeout))

    def get_available_models(self, *, timeout: float | None = 10.0) -> tuple[ModelInfo, ...]:
        """Every model that can be asked for, the active one first."""
        return models_from_message(self._ask(self._models, pb.GetAvailableModelsRequest().SerializeToString(), timeout))

    def diagnose_dicom(
        self,
        source: bytes | str | Path,
        *,
        heatmap: bool = False,
        overlay: bool = False,
        term: str | None = None,
        segmentation: bool = False,
        model: str | None = None,
        all_findings: bool = False,
        name: str | None = None,
        timeout: float | None = 60.0,
        raise_errors: bool = True,
    ) -> Diagnosis:
        """The answer to one image of any format the server reads, at most 64 MiB.

        ``source``: a file's bytes, or its path as text or `Path`. ``heatmap`` asks for the explanation of ``term``,
        ``overlay`` for its picture too. ``name`` (else the path) becomes ``input`` of the answer and does not leave
        this machine. A refusal is an answer. With ``raise_errors=False`` an image that cannot be answered gives a
        `Diagnosis` with ``error`` and all that is known; overload, cancelling and an absent server are raised all the
        same.

        Raises:
            IrmsiaError: the leaf that says what is wrong with the image, the request or the server.
        """
        options = DiagnoseOptions(heatmap, overlay, term, segmentation, model, all_findings)
        answer = self.submit(source, options, name=name, timeout=timeout, raise_errors=raise_errors)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()  # Ctrl-C: the server need not go on
            raise

    def submit(
        self,
        source: bytes | str | Path,
        options: DiagnoseOptions | None = None,
        *,
        name: str | None = None,
        timeout: float | None = 60.0,
        raise_errors: bool = True,
    ) -> Future[Diagnosis]:
        """Ask without waiting: the future gives what `diagnose_dicom` returns or raises; cancelling it ends the call.

        Nothing is raised here, errors of ``source`` among them: the future holds them.
        """
        shown = name if name is not None else (None if isinstance(source, bytes) else str(source))
        future: Future[Diagnosis] = Future()
        try:
            call = self._begin(make_request(read_source(source), options or DiagnoseOptions()), timeout)
        except IrmsiaError as error:
            caught = error
            _settle(future, lambda: _raised(caught) if raise_errors else failed_answer(caught, None, shown))
            return future
        call.add_done_callback(lambda done: _settle(future, lambda: self._outcome(done, shown, raise_errors)))
        future.add_done_callback(lambda done: call.cancel() if done.cancelled() else None)
        return future

    def _begin(self, request: bytes, timeout: float | None) -> Any:
        try:
            return self._diagnose.future(request, timeout=timeout)
        except ValueError:  # all that gRPC says of a closed channel
            raise CancelledError(_CLOSED) from None

    def _outcome(self, call: Any, name: str | None, raise_errors: bool) -> Diagnosis:
        if call.code() is grpc.StatusCode.OK:
            return read_answer(call.result(), name)
        if self._closed and call.code() is grpc.StatusCode.CANCELLED:
            raise CancelledError(_CLOSED)
        error, known = read_failure(call, self.target)
        if raise_errors:
            raise error
        return failed_answer(error, known, name)

    def _ask(self, call: Any, request: bytes, timeout: float | None) -> Any:
        try:
            return call(request, timeout=timeout)
        except grpc.RpcError as failure:
            raise read_failure(failure, self.target)[0] from None
        except ValueError:  # all that gRPC says of a closed channel
            raise CancelledError(_CLOSED) from None

    def _call(self, name: str, reply: Any) -> Any:
        return self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            response_deserializer=reply.FromString,  # requests are bytes already
        )


def _raised(error: IrmsiaError) -> Diagnosis:
    raise error


def _settle(future: Future[Diagnosis], outcome: Callable[[], Diagnosis]) -> None:
    """Give ``future`` what ``outcome`` returns or raises, unless it was cancelled meanwhile."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(outcome())
    except Exception as error:  # noqa: BLE001 - it is the future's to raise, in the caller's thread
        future.set_exception(error)
