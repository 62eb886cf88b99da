"""The remote `InferenceService`: servers asked through `irmsia.client`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from irmsia.client import DicomDiagnosticClient, RetryPolicy, StreamProgress
from irmsia.client.calls import DiagnoseOptions
from irmsia.errors import CancelledError, IrmsiaError
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis, Evidence, Problem, Timings
from irmsia.imaging.decode_input import digest_input
from irmsia.imaging.limits import ReadLimits
from irmsia.inference.pipeline import SOFTWARE
from irmsia.inference.protocol import DiagnoseRequest, Priority, Progress, Stage
from irmsia.settings.tree import ClientSettings

_CALLS = 16
_RETRY = RetryPolicy(overloaded=20)
_DEFAULT_SECONDS = 60.0
_LONG_SECONDS = 300.0
"""For what may take a while by its nature: a large upload, one image among many."""


class RemoteInference:
    """Asks the servers at ``target`` (``HOST:PORT``), a few images at a time, and again where they are overloaded.

    Images of a batch share a call a server; one whose progress is asked for, or that is large, is sent in chunks.

    Raises:
        InvalidRequestError: ``target`` is no ``HOST:PORT``, or a file of ``tls`` cannot be used.
    """

    def __init__(self, target: str | Sequence[str], *, tls: ClientSettings | None = None) -> None:
        tls = tls or ClientSettings()
        self._client = DicomDiagnosticClient(target, ca=tls.ca, certificate=tls.certificate, key=tls.key, retry=_RETRY)
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
        try:
            answer = replace(self._ask(request).result(), input=request.input)
        except IrmsiaError as error:
            answer = Diagnosis(input=request.input, error=Problem(error.code, error.message))
        return _completed(answer, request, begin)

    def _ask(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        options = _options(request)
        if request.priority is Priority.BATCH:
            return self._client.submit_in_batch(request.source, options, timeout=_left(request, _LONG_SECONDS))
        stream = request.progress is not None
        return self._client.submit(
            request.source,
            options,
            timeout=_left(request, _LONG_SECONDS if stream else _DEFAULT_SECONDS),
            raise_errors=False,
            stream=stream,
            progress=_told(request.progress) if request.progress is not None else None,
        )


def _options(request: DiagnoseRequest) -> DiagnoseOptions:
    return DiagnoseOptions(
        heatmap=request.heatmap,
        overlay=request.overlay,
        term=request.term,
        segmentation=request.segmentation,
        model=request.model,
        all_findings=request.all_findings,
    )


def _left(request: DiagnoseRequest, otherwise: float) -> float:
    return otherwise if request.deadline is None else max(0.001, request.deadline - time.monotonic())


def _told(progress: Progress) -> Callable[[StreamProgress], None]:
    """Tell ``progress`` in the words of the seam."""
    return lambda update: progress(Stage[update.stage], update.percent)


def _completed(answer: Diagnosis, request: DiagnoseRequest, begin: float) -> Diagnosis:
    """A failure that the server did not describe, told as this process tells its own: what is known here and since."""
    if answer.error is None or (answer.evidence is not None and answer.timings_ms is not None):
        return answer
    known = answer.evidence or Evidence(input_sha256=digest_input(request.source, ReadLimits()), software=SOFTWARE)
    total_ms = 1000.0 * (time.monotonic() - begin)
    return replace(answer, evidence=known, timings_ms=answer.timings_ms or Timings(queue=0.0, total=total_ms))
