"""What answers /ai-grpc/: a server asked over a gRPC channel, once; who is turned away there is turned away here."""

from __future__ import annotations

import time
from concurrent.futures import Future

from irmsia.client import DicomDiagnosticClient
from irmsia.client.calls import DiagnoseOptions
from irmsia.client.retry import RetryPolicy
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import DiagnoseRequest, Priority
from irmsia.settings.tree import ClientSettings

_ONCE = RetryPolicy(overloaded=1, unavailable=1)


class RelayInference:
    """The `InferenceService` at ``target`` (``HOST:PORT`` or ``grpc://HOST:PORT``). Holds no thread for a request.

    Raises:
        InvalidRequestError: ``target`` is no ``HOST:PORT``, or a file of ``tls`` cannot be used.
    """

    def __init__(self, target: str, *, tls: ClientSettings | None = None) -> None:
        tls = tls or ClientSettings()
        self._client = DicomDiagnosticClient(
            target.removeprefix("grpc://"), ca=tls.ca, certificate=tls.certificate, key=tls.key, retry=_ONCE
        )

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Ask at once; the future also raises what is wrong with the server: overload, an absent server, a deadline.

        Images of a batch share one call, where single images go before them.
        """
        options = DiagnoseOptions(
            heatmap=request.heatmap,
            overlay=request.overlay,
            term=request.term,
            segmentation=request.segmentation,
            model=request.model,
            all_findings=request.all_findings,
        )
        left = None if request.deadline is None else max(0.001, request.deadline - time.monotonic())
        if request.priority is Priority.BATCH:
            return self._client.submit_in_batch(request.source, options, name=request.input, timeout=left)
        return self._client.submit(request.source, options, name=request.input, timeout=left, raise_errors=False)

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model of the server, the active one first; `UnavailableError` when no server answers."""
        return self._client.get_available_models()

    def health(self) -> ServiceHealth:
        """What the server says of itself; `UnavailableError` when no server answers."""
        return self._client.health_check()

    def close(self) -> None:
        """Close the channel; what is under way ends. Twice is once."""
        self._client.close()
