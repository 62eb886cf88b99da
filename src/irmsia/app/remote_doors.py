"""Every door of a running server as an `InferenceService`, so that each is checked like the engine in this process."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from irmsia.app.remote import RemoteInference
from irmsia.app.remote_http import ask_over_http
from irmsia.errors import IrmsiaError, UnsafeSettingsError
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis, Problem
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, Priority, Stage
from irmsia.server.run_file import RunningServer
from irmsia.settings.tree import ClientSettings

_CALLS = 4


class _OtherDoor:
    """Another door of the server that ``remote`` asks: all but images goes through ``remote``."""

    def __init__(self, remote: InferenceService) -> None:
        self._remote = remote

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model of the server."""
        return self._remote.models()

    def health(self) -> ServiceHealth:
        """What the server says of itself."""
        return self._remote.health()

    def close(self) -> None:
        """Nothing of its own is open."""


class StreamDoor(_OtherDoor):
    """Images go in chunks, as those do whose progress is asked for."""

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image."""
        return self._remote.submit(replace(request, progress=request.progress or _unheard))


class BatchDoor(_OtherDoor):
    """Images go as those of a batch."""

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image."""
        return self._remote.submit(replace(request, priority=Priority.BATCH))


class RestDoor(_OtherDoor):
    """Images go through ``ask``, one blocking HTTP request each."""

    def __init__(self, ask: Callable[[DiagnoseRequest], Diagnosis], remote: InferenceService) -> None:
        super().__init__(remote)
        self._ask = ask
        self._threads = ThreadPoolExecutor(_CALLS, thread_name_prefix="irmsia-rest")

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image; the future gives a `Diagnosis` whatever happens to the server."""
        return self._threads.submit(self._answer, request)

    def close(self) -> None:
        """Let the requests under way end."""
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, request: DiagnoseRequest) -> Diagnosis:
        try:
            return replace(self._ask(request), input=request.input)
        except IrmsiaError as error:
            return Diagnosis(input=request.input, error=Problem(error.code, error.message))


@contextmanager
def open_server_doors(
    target: str, running: RunningServer | None, tls: ClientSettings
) -> Iterator[dict[str, InferenceService]]:
    """Every door of the server at ``target`` by name: grpc, grpc-stream, grpc-batch, rest.

    ``running``: its run file, which tells the HTTP port; null where it runs elsewhere, then there is no rest.

    Raises:
        UnavailableError: it does not answer.
        UnsafeSettingsError: a file of ``tls`` cannot be used.
    """
    with ExitStack() as stack:
        remote = RemoteInference(target, tls=tls)
        stack.callback(remote.close, timeout=0)
        remote.health()
        doors: dict[str, InferenceService] = {
            "grpc": remote,
            "grpc-stream": StreamDoor(remote),
            "grpc-batch": BatchDoor(remote),
        }
        if running is not None and running.http_port is not None:
            ask = partial(ask_over_http, running.near_host, running.http_port, tls=_tls_context(tls))
            doors["rest"] = RestDoor(ask, remote)
            stack.callback(doors["rest"].close)
        yield doors
        remote.close()


def _tls_context(tls: ClientSettings) -> ssl.SSLContext | None:
    """As for gRPC: any file that is set means TLS."""
    if tls.ca is None and tls.certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise UnsafeSettingsError(f"a TLS file of the client cannot be used: {error.strerror or 'not PEM'}") from None
    return context


def _unheard(stage: Stage, percent: float) -> None:
    """Nobody listens."""
