"""A real `InferenceService` whose answers a test writes, and a real gRPC server on loopback around it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from irmsia.findings.service import IntendedUseRow, TermGroup
from irmsia.findings.types import (
    Basis,
    ConformalSet,
    Decision,
    Diagnosis,
    Evidence,
    Explanation,
    Finding,
    GridToImage,
    ModelRef,
    Primary,
    Risk,
    Severity,
    Source,
    State,
    Timings,
    Urgency,
)
from irmsia.inference.protocol import DiagnoseRequest, ModelInfo, ServiceHealth
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.server import DiagnosticServer
from irmsia.server.uploads import Uploads

MODEL = ModelRef("ab" * 32, "starter", "1.0.0")
MODEL_INFO = ModelInfo(
    *(MODEL.id, MODEL.name, MODEL.version, "classification"),
    active=True,
    ready=True,
    licence="MIT",
    groups=(TermGroup("chest", "exclusive", ("normal", "pneumonia")),),
    intended_use=(IntendedUseRow(("CR", "DX"), "chest", 0, 17),),
)
Script = Callable[[DiagnoseRequest], Diagnosis]


def make_answer(request: DiagnoseRequest) -> Diagnosis:
    """A whole answer that depends on what was asked."""
    content = request.source if isinstance(request.source, bytes) else request.source.read_bytes()
    explanation = Explanation("attention", request.term or "pneumonia", 0, (1, 1), GridToImage(0, 0, 1, 1), b"\0\0\0?")
    return Diagnosis(
        input=request.input,
        source=Source(format="PNG", rows=2, columns=3),
        decision=Decision.ACCEPT,
        rule=8,
        region="chest",
        primary=Primary("abnormal", 0.9375, Basis.RULE),
        findings=(Finding("pneumonia", "Pneumonia", State.PRESENT, 0.9375),),
        severity=Severity("severe", Basis.RULE),
        risk=Risk(65.625, "HIGH", Basis.RULE),
        urgency=Urgency.URGENT,
        conformal_set=ConformalSet(0.95, ("pneumonia",)),
        explanation=explanation if request.heatmap else None,
        model=MODEL,
        evidence=Evidence(input_sha256=hashlib.sha256(content).hexdigest()),
        timings_ms=Timings(total=1.5),
    )


class ScriptedService:
    """Answers by ``script`` on threads of its own; ``submitting`` runs inside `submit` and may raise."""

    def __init__(self, script: Script = make_answer, submitting: Callable[[], None] = lambda: None) -> None:
        self.script = script
        self.submitting = submitting
        self.requests: list[DiagnoseRequest] = []
        self.futures: list[Future[Diagnosis]] = []
        self.state = ServiceHealth(ready=True, model=MODEL, software="0", capacity=8)
        self._threads = ThreadPoolExecutor(4)

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image."""
        self.submitting()
        self.requests.append(request)
        self.futures.append(self._threads.submit(self.script, request))
        return self.futures[-1]

    def models(self) -> tuple[ModelInfo, ...]:
        """One model."""
        return (MODEL_INFO,)

    def health(self) -> ServiceHealth:
        """``state``, with what runs counted."""
        return replace(self.state, running=sum(not future.done() for future in self.futures))

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown(cancel_futures=True)


class Door:
    """A `DiagnosticServer` on a thread with a loop of its own."""

    def __init__(self, service: ScriptedService, config: GrpcServerConfig) -> None:
        self.service = service
        self.folder = TemporaryDirectory(prefix="irmsia-uploads-")
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="door")
        self._thread.start()
        self.server = self.call(self._make(config))
        self.target = f"{self.server.host}:{self.server.port}"

    def call(self, work):  # type: ignore[no-untyped-def]
        """Run a coroutine on the server's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _make(self, config: GrpcServerConfig) -> DiagnosticServer:
        self.uploads = Uploads(
            Path(self.folder.name), max_bytes=config.file_bytes, total_bytes=config.upload_bytes,
            keep_seconds=config.upload_s,
        )  # fmt: skip
        server = DiagnosticServer(self.service, config, self.uploads)
        await server.start()
        return server

    def close(self) -> None:
        """Drain at once and end the thread."""
        self.call(self.server.drain(0))
        self.call(self.uploads.close())
        self.call(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.folder.cleanup()


@contextmanager
def open_door(service: ScriptedService | None = None, config: GrpcServerConfig | None = None) -> Iterator[Door]:
    """A served service; both are closed at the end."""
    service = service or ScriptedService()
    door = Door(service, config or GrpcServerConfig(port=0))
    try:
        yield door
    finally:
        door.close()
        service.close()
