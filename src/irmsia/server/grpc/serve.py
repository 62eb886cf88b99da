"""Run the gRPC door until SIGTERM or SIGINT: readiness false first, then admitted work is answered, then it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from irmsia import __version__, telemetry
from irmsia.errors import from_system
from irmsia.inference.protocol import InferenceService
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.server import DiagnosticServer
from irmsia.server.run_file import RunningServer, clean_stale, process_mark, remove_run_file, write_run_file
from irmsia.server.uploads import Uploads

_log = telemetry.get_logger(__name__)


def serve(
    service: InferenceService,
    config: GrpcServerConfig,
    home: Path,
    *,
    on_ready: Callable[[RunningServer], None] = lambda server: None,
) -> bool:
    """Serve until the first SIGTERM or SIGINT; a second one does not wait for admitted work. Main thread only.

    ``on_ready`` is called once on the event loop when requests are taken: it must return at once. ``service`` is not
    closed. Returns True when every admitted request was answered.

    Raises:
        UnsafeSettingsError: the address is not loopback and there is no mutual TLS, or the TLS files are bad.
        AddressInUseError: the port is taken.
        InternalError, StorageFullError, OverloadedError: the run file cannot be written.
    """
    return asyncio.run(_serve(service, config, home, on_ready=on_ready))


async def _serve(
    service: InferenceService, config: GrpcServerConfig, home: Path, *, on_ready: Callable[[RunningServer], None]
) -> bool:
    first, second = asyncio.Event(), asyncio.Event()
    with _signals(first, second):
        async with _uploads(config, home) as uploads:
            server = DiagnosticServer(service, config, uploads)
            return await _until_stopped(server, home, first=first, second=second, on_ready=on_ready)


@contextlib.asynccontextmanager
async def _uploads(config: GrpcServerConfig, home: Path) -> AsyncIterator[Uploads]:
    uploads = Uploads(
        home / "uploads",
        max_bytes=config.file_bytes,
        total_bytes=config.upload_bytes,
        keep_seconds=config.upload_s,
    )
    try:
        yield uploads
    finally:
        await uploads.close()


async def _until_stopped(
    server: DiagnosticServer,
    home: Path,
    *,
    first: asyncio.Event,
    second: asyncio.Event,
    on_ready: Callable[[RunningServer], None],
) -> bool:
    await server.start()
    try:
        path = _announce(server, home, on_ready)
    except BaseException:
        await server.drain(0)
        raise
    await first.wait()
    # The file goes while the server still answers health: nobody finds a server that takes nothing any more.
    draining = asyncio.create_task(server.drain())
    await asyncio.sleep(0)
    remove_run_file(path)
    return await _drained(draining, server, second)


def _announce(server: DiagnosticServer, home: Path, on_ready: Callable[[RunningServer], None]) -> Path:
    pid = os.getpid()
    running = RunningServer(pid, server.host, server.port, None, __version__, process_mark(pid) or "unknown")
    try:
        clean_stale(home)
        path = write_run_file(home, running)
    except (OSError, MemoryError) as error:
        raise from_system(error, "the run file cannot be written") from None
    telemetry.log_event(_log, logging.INFO, "ready", grpc_port=server.port)
    try:
        on_ready(running)
    except BaseException:
        remove_run_file(path)
        raise
    return path


async def _drained(draining: asyncio.Task[bool], server: DiagnosticServer, second: asyncio.Event) -> bool:
    """Wait for the drain; a second signal cuts it short."""
    hurry = asyncio.create_task(second.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if draining.done():
        hurry.cancel()
        return draining.result()
    draining.cancel()
    await asyncio.wait({draining})
    return await server.drain(0)


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
