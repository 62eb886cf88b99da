"""The local `InferenceService`: one bounded queue, and worker threads that each decode in a child and infer alone."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irmsia.bundles.load import Bundle
from irmsia.errors import (
    CancelledError,
    InternalError,
    IrmsiaError,
    NotReadableError,
    OverloadedError,
    TimedOutError,
    from_system,
)
from irmsia.findings.types import Diagnosis, Evidence, Problem, Timings
from irmsia.imaging.decode_task import FrameRule, PreparedInput
from irmsia.imaging.frames import EvenlySpaced, OneFrame
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.model import ReadyModel, make_model
from irmsia.inference.pipeline import SOFTWARE, Case, answer_case, check_request
from irmsia.inference.protocol import DiagnoseRequest, ModelInfo, ServiceHealth
from irmsia.inference.ready import ReadyModels, Sessions
from irmsia.inference.runtimes.protocol import Precision
from irmsia.settings.tree import EngineSettings
from irmsia.telemetry import format_stack, get_logger, log_event

_LOG = get_logger(__name__)


class Decoder(Protocol):
    """What reads and prepares an image; `irmsia.imaging.guard.DecoderPool` does so in child processes."""

    def warm(self) -> None:
        """Start what takes time to start; raises `WorkerDiedError` when that fails."""
        ...

    def prepare(
        self,
        source: bytes | Path,
        spec: PreprocessSpec,
        *,
        frames: FrameRule,
        with_picture: bool = False,
        deadline: float | None = None,
    ) -> PreparedInput:
        """Read ``source``, preprocess the frames of that rule; raises the leaves of `InputError` and `ServiceError`."""
        ...

    def digest(self, source: bytes | Path) -> str | None:
        """SHA-256 (hex) of a source that could not be answered, null where it cannot be read."""
        ...


class _Promise(Future[Diagnosis]):
    """Remembers that its caller went away, also when the work has begun."""

    unwanted = False

    def cancel(self) -> bool:
        """See `concurrent.futures.Future.cancel`."""
        self.unwanted = True
        return super().cancel()


@dataclass(frozen=True, slots=True)
class _Ticket:
    request: DiagnoseRequest
    future: _Promise = field(default_factory=_Promise)
    admitted: float = field(default_factory=time.monotonic)


class Engine:
    """Answers images on this machine.

    Args:
        decoder: reads and prepares images; called from every worker at once, and closed by whoever made it.
        load: gives the bundle; called once, on a thread of its own, by `start`.
        settings: workers and queue.
        make: compiles a bundle for that many workers; null: in the settings' precision, whether proven
            or not (auto: f32).
    """

    def __init__(
        self,
        decoder: Decoder,
        load: Callable[[], Bundle],
        settings: EngineSettings,
        *,
        make: Callable[[Bundle], ReadyModel] | None = None,
    ) -> None:
        self._decoder = decoder
        self._load = load
        self._settings = settings
        self._make = make or self._make_exact
        self._state = threading.Condition()
        self._queue: deque[_Ticket] = deque()
        self._running = 0
        self._closing = False
        self._abandoned = False
        self._models: ReadyModels | None = None
        self._problem: str | None = None
        self._failure: IrmsiaError | None = None
        self._decided = threading.Event()
        self._threads: list[threading.Thread] = []
        self._started = time.monotonic()
        self._warm = True
        self._item_seconds = 0.1

    def start(self, *, warm: bool = True) -> None:
        """Begin to load the model and take requests; returns at once. Requests wait until the model is ready.

        ``warm``: start the decoders meanwhile; without it the first image starts what it needs.
        """
        self._warm = warm
        targets = [("irmsia-load", self._begin), *((f"irmsia-{i}", self._work) for i in range(self._settings.workers))]
        self._threads = [threading.Thread(target=target, name=name, daemon=True) for name, target in targets]
        for thread in self._threads:
            thread.start()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Block until the model answers.

        Raises:
            BundleRejectedError, ModelNotFoundError: there is no model to serve.
            TimedOutError: not within ``timeout`` seconds.
        """
        if not self._decided.wait(timeout):
            raise TimedOutError("the model was not ready in time")
        self._ready_models()

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """See `irmsia.inference.protocol.InferenceService.submit`."""
        ticket = _Ticket(request)
        with self._state:
            if self._closing:
                raise CancelledError("the service is stopping")
            if len(self._queue) >= self._settings.queue:
                self._drop_cancelled()
            if len(self._queue) >= self._settings.queue:
                raise OverloadedError("too many requests are waiting; try again later", self._retry_after())
            self._queue.append(ticket)
            self._state.notify()
        return ticket.future

    def models(self) -> tuple[ModelInfo, ...]:
        """Every ready model, the active one first; none before it is ready."""
        models = self._models
        return () if models is None else models.infos()

    def health(self) -> ServiceHealth:
        """See `irmsia.inference.protocol.InferenceService.health`."""
        with self._state:
            reason, active = self._not_ready_reason(), None if self._models is None else self._models.active
            return ServiceHealth(
                ready=reason is None,
                reason=reason,
                problem=self._problem,
                model=None if active is None else active.ref,
                software=SOFTWARE,
                waiting=len(self._queue),
                running=self._running,
                capacity=self._settings.queue,
                uptime_s=time.monotonic() - self._started,
            )

    def swap(self, bundle: Bundle) -> None:
        """Let ``bundle`` answer from the next image on. It is compiled and warmed up first, while the old one serves.

        The old one still answers requests that name it, until `keep` says which do.

        Raises:
            BundleRejectedError: it cannot be made ready; the old one stays.
        """
        model = self._ready(bundle)
        with self._state:
            self._models = (self._models or ReadyModels(model)).with_active(model)
        self._failure = None
        self._decided.set()

    def keep(self, bundles: Sequence[Bundle]) -> None:
        """Let ``bundles``, and no others, answer requests that name them, once a first model is ready.

        Raises:
            BundleRejectedError: one of them cannot be made ready; nothing changes.
        """
        models = [self._ready(bundle) for bundle in bundles]
        with self._state:
            self._models = self._models and self._models.with_others(models)

    def withdraw(self, identities: Collection[str]) -> None:
        """Let the models of these ids answer no more, the active one included: they were revoked."""
        with self._state:
            self._models = self._models and self._models.without(identities)

    def report(self, problem: str | None) -> None:
        """What `health` says is wrong although requests are taken; null: nothing."""
        self._problem = problem

    def close(self, *, timeout: float | None = None) -> None:
        """Answer what was admitted, for at most ``timeout`` seconds; what then still waits is answered CANCELLED, and
        what is being worked on stops before its next frame.
        """
        with self._state:
            self._closing = True
            self._state.notify_all()
            if self._threads:
                self._state.wait_for(lambda: not self._queue and not self._running, timeout)
                self._abandoned = True
            left = list(self._queue)
            self._queue.clear()
        for ticket in left:
            self._resolve(ticket, lambda ticket: _failed(ticket.request, CancelledError("the service is stopping")))
        for thread in self._threads:
            thread.join()

    def _begin(self) -> None:
        try:
            with ThreadPoolExecutor(1) as beside:
                warming = beside.submit(self._decoder.warm) if self._warm else None
                model = self._make(self._load())
                if warming is not None:
                    warming.result()
            with self._state:  # a swap that came first is newer than what `load` gave
                self._models = self._models or ReadyModels(model)
        except IrmsiaError as error:
            self._failure = error
        except (OSError, MemoryError) as error:
            log_event(_LOG, logging.ERROR, "model failed", stack=format_stack(error))
            self._failure = from_system(error, "the model cannot be loaded now")
        except Exception as error:  # noqa: BLE001  # edge of a thread: whoever waits must learn of it
            log_event(_LOG, logging.ERROR, "model failed", stack=format_stack(error))
            self._failure = InternalError("the model could not be loaded")
        finally:
            self._decided.set()

    def _make_exact(self, bundle: Bundle) -> ReadyModel:
        settings = self._settings
        return make_model(
            bundle,
            runtime=settings.runtime,
            precision=Precision.F32 if settings.precision == "auto" else Precision(settings.precision),
            sessions=settings.workers,
            threads=settings.threads,
        )

    def _ready(self, bundle: Bundle) -> ReadyModel:
        models = self._models
        known = models.get(bundle.id) if models is not None else None
        return known if known is not None and known.bundle.files == bundle.files else self._make(bundle)

    def _ready_models(self) -> ReadyModels:
        self._decided.wait()
        if self._models is None:
            raise self._failure or InternalError("the model could not be loaded")
        return self._models

    def _not_ready_reason(self) -> str | None:
        if self._closing:
            return "stopping"
        if self._models is not None:
            return None if self._models.active is not None else "the active model was revoked"
        return "starting" if self._failure is None else f"{self._failure.code}: {self._failure.message}"

    def _drop_cancelled(self) -> None:
        live = [ticket for ticket in self._queue if not ticket.future.cancelled()]
        self._queue.clear()
        self._queue.extend(live)

    def _retry_after(self) -> float:
        return max(0.1, len(self._queue) * self._item_seconds / self._settings.workers)

    def _work(self) -> None:
        sessions = Sessions()
        while (ticket := self._take()) is not None:
            begin = time.monotonic()
            self._resolve(ticket, lambda ticket: self._answer(ticket, sessions))
            with self._state:
                self._running -= 1
                self._state.notify_all()
                self._item_seconds += 0.1 * (time.monotonic() - begin - self._item_seconds)

    def _take(self) -> _Ticket | None:
        with self._state:
            self._state.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            ticket = self._queue.popleft()
            self._running += 1
            self._state.notify_all()
            return ticket

    def _resolve(self, ticket: _Ticket, answer: Callable[[_Ticket], Diagnosis]) -> None:
        if ticket.future.set_running_or_notify_cancel():
            ticket.future.set_result(answer(ticket))

    def _answer(self, ticket: _Ticket, sessions: Sessions) -> Diagnosis:
        queued_ms = 1000.0 * (time.monotonic() - ticket.admitted)
        try:
            diagnosis = self._diagnose(ticket, sessions)
        except IrmsiaError as error:
            diagnosis = self._failed(ticket.request, error)
        except (OSError, MemoryError) as error:
            sessions.drop()
            log_event(_LOG, logging.ERROR, "item failed", stack=format_stack(error))
            diagnosis = self._failed(ticket.request, from_system(error, "the image cannot be answered now"))
        except Exception as error:  # noqa: BLE001  # edge of an item: it fails alone
            sessions.drop()
            log_event(_LOG, logging.ERROR, "item failed", stack=format_stack(error))
            diagnosis = self._failed(ticket.request, InternalError("this is a bug; the log says where"))
        total_ms = 1000.0 * (time.monotonic() - ticket.admitted)
        timings = diagnosis.timings_ms or Timings()
        return replace(diagnosis, timings_ms=replace(timings, queue=queued_ms, total=total_ms))

    def _failed(self, request: DiagnoseRequest, error: IrmsiaError) -> Diagnosis:
        """The failed item with the digest of what failed; not where nobody waits for it any more."""
        digest = None if isinstance(error, CancelledError) else self._decoder.digest(request.source)
        return _failed(request, error, digest)

    def _diagnose(self, ticket: _Ticket, sessions: Sessions) -> Diagnosis:
        request = ticket.request
        _check_deadline(request)
        models = self._ready_models()
        model = models.find(request.model)
        check_request(request, model)
        _check_deadline(request)
        spec = model.bundle.manifest.preprocessing
        prepared = self._decoder.prepare(
            request.source, spec, frames=EvenlySpaced(), with_picture=request.overlay, deadline=request.deadline
        )

        def show(frame: int) -> NDArray[np.uint8] | None:
            self._check(ticket)
            again = self._decoder.prepare(
                request.source, spec, frames=OneFrame(frame), with_picture=True, deadline=request.deadline
            )
            if again.info.input_sha256 != prepared.info.input_sha256:
                raise NotReadableError("the file changed while it was read")
            return again.picture

        _check_deadline(request)
        session = sessions.of(model, models.all)
        return answer_case(Case(request, prepared, model, lambda: self._check(ticket), show), session)

    def _check(self, ticket: _Ticket) -> None:
        """Raise when nobody waits for the answer any more."""
        _check_deadline(ticket.request)
        if self._abandoned or ticket.future.unwanted:
            raise CancelledError("nobody waits for the answer any more")


def _check_deadline(request: DiagnoseRequest) -> None:
    if request.deadline is not None and time.monotonic() >= request.deadline:
        raise TimedOutError("the deadline passed before the work was done")


def _failed(request: DiagnoseRequest, error: IrmsiaError, input_sha256: str | None = None) -> Diagnosis:
    return Diagnosis(
        input=request.input,
        evidence=Evidence(input_sha256=input_sha256, software=SOFTWARE),
        timings_ms=Timings(),
        error=Problem(error.code, error.message),
    )
