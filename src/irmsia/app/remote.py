"""The remote `InferenceService`: a server asked through `irmsia.client`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from irmsia.client import DicomDiagnosticClient
from irmsia.errors import CancelledError, IrmsiaError, OverloadedError
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis, Evidence, Problem, Timings
from irmsia.imaging.decode_input import digest_input
from irmsia.imaging.limits import ReadLimits
from irmsia.inference.pipeline import SOFTWARE
from irmsia.inference.protocol import DiagnoseRequest

_CALLS = 8
_PATIENCE = 20
_DEFAULT_SECONDS = 60.0


class RemoteInference:
    """Asks the server at ``target`` (``HOST:PORT``), a few images at a time, and again later where it is overloaded.

    Raises:
        InvalidRequestError: ``target`` is no ``HOST:PORT``.
    """

    def __init__(self, target: str) -> None:
        self._client = DicomDiagnosticClient(target)
        self._threads = ThreadPoolExecutor(_CALLS, thread_name_prefix="irmsia-remote")
        self._closing = threading.Event()

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image; the future gives a `Diagnosis` whatever happens to the server."""
        if self._closing.is_set():
            raise CancelledError("the service is closing")
        return self._threads.submit(self._answer, request)

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model of the server, the active one first; `UnavailableError` when no server answers."""
        return self._client.get_available_models()

    def health(self) -> ServiceHealth:
        """What the server says of itself; `UnavailableError` when no server answers."""
        return self._client.health_check()

    def close(self, *, timeout: float | None = None) -> None:
        """Let the calls under way end; with a ``timeout`` they are cut off at once."""
        self._closing.set()
        if timeout is not None:
            self._client.close()
        self._threads.shutdown(cancel_futures=timeout is not None)
        self._client.close()

    def _answer(self, request: DiagnoseRequest) -> Diagnosis:
        begin = time.monotonic()
        return _completed(self._patient_answer(request), request, begin)

    def _patient_answer(self, request: DiagnoseRequest) -> Diagnosis:
        for _ in range(_PATIENCE - 1):
            try:
                return self._ask(request)
            except OverloadedError as error:
                if self._closing.wait(error.retry_after_s):
                    break
            except IrmsiaError as error:
                return _failed(request, error)
        try:
            return self._ask(request)
        except IrmsiaError as error:
            return _failed(request, error)

    def _ask(self, request: DiagnoseRequest) -> Diagnosis:
        left = _DEFAULT_SECONDS if request.deadline is None else max(0.001, request.deadline - time.monotonic())
        answer = self._client.diagnose_dicom(
            request.source,
            heatmap=request.heatmap,
            overlay=request.overlay,
            term=request.term,
            segmentation=request.segmentation,
            model=request.model,
            all_findings=request.all_findings,
            timeout=left,
            raise_errors=False,
        )
        return replace(answer, input=request.input)


def _completed(answer: Diagnosis, request: DiagnoseRequest, begin: float) -> Diagnosis:
    """A failure that the server did not describe, told as this process tells its own: what is known here and since."""
    if answer.error is None or (answer.evidence is not None and answer.timings_ms is not None):
        return answer
    known = answer.evidence or Evidence(input_sha256=digest_input(request.source, ReadLimits()), software=SOFTWARE)
    total_ms = 1000.0 * (time.monotonic() - begin)
    return replace(answer, evidence=known, timings_ms=answer.timings_ms or Timings(queue=0.0, total=total_ms))


def _failed(request: DiagnoseRequest, error: IrmsiaError) -> Diagnosis:
    return Diagnosis(input=request.input, error=Problem(error.code, error.message))
