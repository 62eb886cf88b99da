"""The server role: checks what would be unsafe, starts the engine, opens the doors, proves itself when asked."""

from __future__ import annotations

import logging
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from irmsia.app.compose import Doors, open_engine, open_pool
from irmsia.app.relay import RelayInference
from irmsia.app.remote_doors import open_server_doors
from irmsia.app.watch import ModelWatch, load_active
from irmsia.errors import CancelledError, IrmsiaError, UnavailableError, UnsafeSettingsError
from irmsia.imaging.guard import DecoderPool
from irmsia.inference.protocol import InferenceService
from irmsia.server.address import listen_address, require_free_port
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.metrics import Metrics
from irmsia.server.run_file import RunningServer, list_running
from irmsia.server.serve import HttpDoor, serve
from irmsia.server.tls import read_tls, tls_files
from irmsia.settings.tree import Settings
from irmsia.telemetry import format_stack, get_logger, log_event

Check = Callable[[Doors, RunningServer], bool]

_log = get_logger(__name__)


def run_server(settings: Settings, *, on_ready: Callable[[RunningServer], None], check: Check | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C and return the exit code: 0, or 1 when the ``check`` failed.

    Args:
        settings: the tree.
        on_ready: called when requests are taken.
        check: called after that on a thread of its own with every open door; False stops the server.

    Raises:
        UnsafeSettingsError: an address that is not loopback without mutual TLS, bad TLS files, or a private file
            that others may read.
        AddressInUseError: a port is taken.
        InvalidRequestError: ``inference_url`` is no HOST:PORT.
        ModelNotFoundError, BundleRejectedError: there is no model to serve.
    """
    config = _grpc_config(settings)
    http = HttpDoor(_http_config(settings), partial(_relay, settings), Metrics())
    if config.tls is not None:
        read_tls(config.tls)  # the server does so again, but only when the model is ready
    for port in (config.port, http.config.port):
        require_free_port(listen_address(config.host, config.tls), port)
    require_private_files(settings.home)
    workers = settings.engine.workers
    with ExitStack() as stack:
        stack.enter_context(_stoppable())
        pool = stack.enter_context(open_pool(settings, workers))
        load = partial(load_active, settings, pool.prepare)
        engine = stack.enter_context(open_engine(settings, pool, workers, load=load, observer=http.metrics))
        stack.enter_context(ModelWatch(settings, engine, pool.prepare).running())
        proof = _Proof(engine, pool, check, settings)

        def ready(server: RunningServer) -> None:
            on_ready(server)
            proof.start(server)

        serve(engine, config, settings.home, http=http, on_ready=ready)
    return 1 if proof.failed else 0


@contextmanager
def _stoppable() -> Iterator[None]:
    """A SIGTERM outside of `serve`, while the server starts or ends, is a clean end with exit code 0, too."""

    asked = threading.Event()

    def stop(number: int, frame: object) -> None:
        asked.set()
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except Exception:  # an extension module that is just being imported turns the stop into an error of its own
        if asked.is_set():
            sys.exit(0)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def require_private_files(home: Path) -> None:
    """Refuse to start where a secret of this machine is readable by others (safety.md A5).

    Raises:
        UnsafeSettingsError: one is.
    """
    if os.name != "posix":
        return
    for path in [*home.glob("private/*"), *home.glob("*.key")]:
        # A dangling link, or a file that another process is just done with, gives nothing away.
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UnsafeSettingsError(f"{path.name} holds a secret that other users may read; chmod 600 it")


class _Proof:
    """The check of a server by itself, on a thread of its own."""

    def __init__(self, engine: InferenceService, pool: DecoderPool, check: Check | None, settings: Settings) -> None:
        self.failed = False
        self._engine = engine
        self._pool = pool
        self._check = check
        self._settings = settings

    def start(self, server: RunningServer) -> None:
        if self._check is not None:
            threading.Thread(target=self._run, args=(self._check, server), name="irmsia-qa", daemon=True).start()

    def _run(self, check: Check, server: RunningServer) -> None:
        try:
            with open_server_doors(server.grpc_target, server, self._settings.client) as remote:
                doors = Doors({"process": self._engine, **remote}, self._pool.inspect)
                self.failed = not check(doors, server)
        except (CancelledError, UnavailableError) as error:
            if server not in list_running(self._settings.home):
                return  # the server was stopped meanwhile
            log_event(_log, logging.ERROR, "check does not reach this server; with TLS, see client.ca", code=error.code)
            self.failed = True
        except Exception as error:  # noqa: BLE001 - edge of a thread: a check that breaks has failed
            code = error.code if isinstance(error, IrmsiaError) else "INTERNAL"
            log_event(_log, logging.ERROR, "check broke", code=code, stack=format_stack(error))
            self.failed = True
        if self.failed:
            os.kill(os.getpid(), signal.SIGTERM)


def _grpc_config(settings: Settings) -> GrpcServerConfig:
    server = settings.server
    return GrpcServerConfig(
        host=server.host,
        port=server.grpc_port,
        image_bytes=server.message_bytes,
        request_s=server.request_seconds,
        grace_s=server.grace_seconds,
        tls=tls_files(server.tls_certificate, server.tls_key, server.tls_client_ca),
        upload_bytes=server.upload_bytes,
        upload_s=server.upload_seconds,
        file_bytes=settings.limits.file_bytes,
        batch_places=2 * settings.engine.workers,
    )


def _http_config(settings: Settings) -> HttpServerConfig:
    server = settings.server
    return HttpServerConfig(
        host=server.host,
        port=server.port,
        body_bytes=server.body_bytes,
        files=server.batch_files,
        request_s=server.request_seconds,
    )


def _relay(settings: Settings, own: str) -> RelayInference:
    if settings.inference_url is None:
        return RelayInference(own)
    return RelayInference(settings.inference_url, tls=settings.client)
