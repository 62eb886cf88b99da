"""Every door of a running server as an `InferenceService`, so that each is checked like the engine in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from irmsia.app.remote import RemoteInference
from irmsia.app.remote_http import ask_over_http, make_context
from irmsia.client import DicomDiagnosticClient
from irmsia.errors import IrmsiaError
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis, Problem
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.server.run_file import RunningServer
from irmsia.settings.tree import ClientSettings

Ask = Callable[[DiagnoseRequest], Diagnosis]
"""Asks one door for one image and waits; raises the leaf of what went wrong."""

_CALLS = 4


class DoorInference:
    """One more door of the server that ``remote`` asks: images go through ``ask``, the rest through ``remote``."""

    def __init__(self, ask: Ask, remote: InferenceService) -> None:
        self._ask = ask
        self._remote = remote
        self._threads = ThreadPoolExecutor(_CALLS, thread_name_prefix="irmsia-door")

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image; the future gives a `Diagnosis` whatever happens to the server."""
        return self._threads.submit(self._answer, request)

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model of the server."""
        return self._remote.models()

    def health(self) -> ServiceHealth:
        """What the server says of itself."""
        return self._remote.health()

    def close(self) -> None:
        """Let the calls under way end."""
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, request: DiagnoseRequest) -> Diagnosis:
        try:
            return replace(self._ask(request), input=request.input)
        except IrmsiaError as error:
            return Diagnosis(input=request.input, error=Problem(error.code, error.message))


@contextmanager
def open_server_doors(
    target: str, running: RunningServer | None, tls: ClientSettings | None = None
) -> Iterator[dict[str, InferenceService]]:
    """Every door of the server at ``target`` by name; ``running``: its run file, which tells the HTTP port, or null.

    Raises:
        UnavailableError: it does not answer.
    """
    tls = tls or ClientSettings()
    with ExitStack() as stack:
        remote = stack.enter_context(_closing(RemoteInference(target, tls=tls)))
        remote.health()
        client = stack.enter_context(DicomDiagnosticClient(target, ca=tls.ca, certificate=tls.certificate, key=tls.key))
        asks: dict[str, Ask] = {"grpc-stream": partial(_ask_stream, client), "grpc-batch": partial(_ask_batch, client)}
        if running is not None and running.http_port is not None:
            asks["rest"] = partial(ask_over_http, running.host, running.http_port, context=make_context(tls))
        doors: dict[str, InferenceService] = {"grpc": remote}
        for name, ask in asks.items():
            door = DoorInference(ask, remote)
            stack.callback(door.close)
            doors[name] = door
        yield doors


@contextmanager
def _closing(remote: RemoteInference) -> Iterator[RemoteInference]:
    """Calls under way are answered at the end, and cut off after an error."""
    try:
        yield remote
        remote.close()
    finally:
        remote.close(timeout=0)


def _ask_stream(client: DicomDiagnosticClient, request: DiagnoseRequest) -> Diagnosis:
    return client.diagnose_dicom_stream(request.source, raise_errors=False, **_options(request))


def _ask_batch(client: DicomDiagnosticClient, request: DiagnoseRequest) -> Diagnosis:
    (answer,) = client.diagnose_batch([request.source], **_options(request)).answers
    return answer


def _options(request: DiagnoseRequest) -> dict[str, Any]:
    """What is asked besides the image; a map comes with its overlay through REST, so it does everywhere."""
    return {
        "heatmap": request.heatmap,
        "overlay": request.overlay,
        "term": request.term,
        "segmentation": request.segmentation,
        "model": request.model,
        "all_findings": request.all_findings,
    }
