"""Run both doors on one loop until SIGTERM or SIGINT: readiness false first, then what was admitted is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from irmsia import __version__, telemetry
from irmsia.errors import from_system
from irmsia.inference.protocol import InferenceService, TellsRoom
from irmsia.server.address import join_address
from irmsia.server.admission import Admission
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.server import DiagnosticServer
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.http.receiving import Receiving, Relays
from irmsia.server.http.routes import HttpParts
from irmsia.server.http.server import HttpServer
from irmsia.server.metrics import Metrics
from irmsia.server.run_file import RunningServer, clean_stale, process_mark, remove_run_file, write_run_file
from irmsia.server.uploads import Uploads

_log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpDoor:
    """The HTTP door. ``relay`` makes what answers /ai-grpc/ from the address of the gRPC door; it is closed here."""

    config: HttpServerConfig
    relay: Callable[[str], InferenceService]
    metrics: Metrics = field(default_factory=Metrics)


def serve(
    service: InferenceService,
    config: GrpcServerConfig,
    home: Path,
    *,
    http: HttpDoor | None = None,
    on_ready: Callable[[RunningServer], None] = lambda server: None,
) -> bool:
    """Serve until the first SIGTERM or SIGINT; a second one does not wait for admitted work. Main thread only.

    ``http``: null opens the gRPC door alone. ``on_ready`` is called once on the event loop when requests are taken: it
    must return at once. ``service`` is not closed. Returns True when every admitted request was answered.

    Raises:
        UnsafeSettingsError: the address is not loopback and there is no mutual TLS, or the TLS files are bad.
        AddressInUseError: a port is taken.
        InternalError, StorageFullError, OverloadedError: the run file cannot be written.
    """
    return asyncio.run(_serve(service, config, home, http=http, on_ready=on_ready))


async def _serve(
    service: InferenceService,
    config: GrpcServerConfig,
    home: Path,
    *,
    http: HttpDoor | None,
    on_ready: Callable[[RunningServer], None],
) -> bool:
    first, second = asyncio.Event(), asyncio.Event()
    with _signals(first, second):
        async with open_doors(service, config, home, http) as doors:
            path = _announce(doors, home, on_ready)
            await first.wait()
            # The file goes while the server still answers health: nobody finds a server that takes nothing any more.
            draining = asyncio.create_task(doors.drain(config.grace_s))
            await asyncio.sleep(0)
            remove_run_file(path)
            return await _drained(draining, doors, second)


class Doors:
    """What is open, with one admission for all."""

    def __init__(self, grpc: DiagnosticServer, http: HttpServer | None, uploads: Uploads, *, tls: bool = False) -> None:
        self.grpc = grpc
        self.http = http
        self.uploads = uploads
        self.tls = tls

    async def drain(self, grace_s: float) -> bool:
        """Answer what was admitted, let nobody in, stop. False when the grace ran out.

        Requests that HTTP passes on over gRPC may be for this very server: it takes them in until there are none.
        """
        limit = time.monotonic() + grace_s
        await self.grpc.say_stopping()
        if self.http is not None:
            self.http.stop_receiving()
            await self.http.passed_on(grace_s / 2)  # whoever gRPC lets in meanwhile must have time for an answer, too
        answered = await self.grpc.drain(max(0.0, limit - time.monotonic()))
        if self.http is not None:
            await self.http.stop()
        return answered


@asynccontextmanager
async def open_doors(
    service: InferenceService, config: GrpcServerConfig, home: Path, http: HttpDoor | None
) -> AsyncIterator[Doors]:
    """Both doors, open; closed at once where something fails."""
    admission = Admission(
        config.admission, has_room=service.has_room if isinstance(service, TellsRoom) else lambda client, ahead: True
    )
    async with contextlib.AsyncExitStack() as stack:
        uploads = _uploads(config, home)
        stack.push_async_callback(uploads.close)
        observed = None if http is None else partial(http.metrics.requested, "grpc")
        grpc = DiagnosticServer(service, config, uploads, admission=admission, observed=observed)
        private = stack.enter_context(_private_address()) if http is not None and config.tls is not None else None
        await grpc.start(private=private)
        stack.push_async_callback(grpc.drain, 0)
        door = None
        if http is not None:
            relay = http.relay(private or join_address(grpc.host, grpc.port))
            stack.push_async_callback(asyncio.to_thread, relay.close)
            door = HttpServer(_parts(service, relay, http, admission, uploads), tls=config.tls)
            stack.push_async_callback(door.stop)
            await door.start()
        yield Doors(grpc, door, uploads, tls=config.tls is not None)


@contextlib.contextmanager
def _private_address() -> Iterator[str | None]:
    """A socket in a folder that this user alone may enter: under mutual TLS /ai-grpc/ has no certificate to show."""
    if os.name != "posix":
        yield None
        return
    with TemporaryDirectory(prefix="irmsia-", ignore_cleanup_errors=True) as folder:
        yield f"unix:{folder}/grpc.sock"


def _uploads(config: GrpcServerConfig, home: Path) -> Uploads:
    return Uploads(
        home / "uploads",
        max_bytes=config.file_bytes,
        total_bytes=config.upload_bytes,
        keep_seconds=config.upload_s,
    )


def _parts(
    service: InferenceService, relay: InferenceService, http: HttpDoor, admission: Admission, uploads: Uploads
) -> HttpParts:
    receiving = Receiving(http.config)
    http.metrics.watch(
        service.health,
        lambda: {
            "requests_in_flight": admission.calls,
            "bytes_in_flight": admission.held_bytes,
            "bodies_coming_in": len(receiving),
            "uploads": len(uploads),
            "upload_bytes": uploads.held_bytes,
        },
    )
    return HttpParts(
        dicom=service,
        ai_grpc=relay,
        config=http.config,
        admission=admission,
        receiving=receiving,
        uploads=uploads,
        metrics=http.metrics,
        relays=Relays(),
    )


def _announce(doors: Doors, home: Path, on_ready: Callable[[RunningServer], None]) -> Path:
    pid = os.getpid()
    http_port = doors.http.port if doors.http is not None else None
    mark = process_mark(pid) or "unknown"
    ports = doors.grpc.host, doors.grpc.port, http_port
    running = RunningServer(pid, *ports, __version__, mark, tls=doors.tls)
    try:
        clean_stale(home)
        path = write_run_file(home, running)
    except (OSError, MemoryError) as error:
        raise from_system(error, "the run file cannot be written") from None
    telemetry.log_event(_log, logging.INFO, "ready", grpc_port=running.grpc_port, http_port=http_port)
    try:
        on_ready(running)
    except BaseException:
        remove_run_file(path)
        raise
    return path


async def _drained(draining: asyncio.Task[bool], doors: Doors, second: asyncio.Event) -> bool:
    """Wait for the drain; a second signal cuts it short."""
    hurry = asyncio.create_task(second.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if draining.done():
        hurry.cancel()
        return draining.result()
    draining.cancel()
    await asyncio.wait({draining})
    return await doors.drain(0)


@contextlib.contextmanager
def _signals(first: asyncio.Event, second: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``first``, then ``second``; what stood before stands again afterwards."""

    def on_signal() -> None:
        (second if first.is_set() else first).set()

    loop = asyncio.get_running_loop()
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    for kind in kinds:
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends the loop instead
            loop.add_signal_handler(kind, on_signal)
    try:
        yield
    finally:
        for kind in kinds:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(kind)
                signal.signal(kind, before[kind])
