"""The local `InferenceService`: what may wait, the threads that work, and the models that are ready."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from irmsia.bundles.load import Bundle
from irmsia.errors import CancelledError, InternalError, IrmsiaError, OverloadedError, TimedOutError, from_system
from irmsia.findings.types import Diagnosis
from irmsia.inference.batcher import Inference
from irmsia.inference.model import ReadyModel, make_model
from irmsia.inference.observer import Guarded, Observer, Silent
from irmsia.inference.pipeline import SOFTWARE
from irmsia.inference.plan import make_plan
from irmsia.inference.protocol import DiagnoseRequest, ModelInfo, Priority, ServiceHealth, Stage
from irmsia.inference.ready import ReadyModels
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.scheduler import Scheduler
from irmsia.inference.ticket import Ticket
from irmsia.inference.worker import Answer, Decoder, Worker, failed_diagnosis
from irmsia.settings.tree import EngineSettings
from irmsia.telemetry import format_stack, get_logger, log_event

__all__ = ["Decoder", "Engine"]

_LOG = get_logger(__name__)


class Engine:
    """Answers images on this machine.

    Args:
        decoder: reads and prepares images; called from every worker at once, and closed by whoever made it.
        load: gives the bundle; called once, on a thread of its own, by `start`.
        settings: the execution plan (`irmsia.inference.plan`) and how many requests may wait.
        make: compiles a bundle for that plan; null: in the settings' precision, whether proven
            or not (auto: f32).
        observer: hears of every request; null: nobody does.
    """

    def __init__(
        self,
        decoder: Decoder,
        load: Callable[[], Bundle],
        settings: EngineSettings,
        *,
        make: Callable[[Bundle], ReadyModel] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._decoder = decoder
        self._load = load
        self._settings = settings
        self._make = make or self._make_exact
        self._observer = Guarded(observer or Silent())
        self._plan = make_plan(settings)
        self._inferences = self._plan.open_inferences()
        self._decoding = threading.Semaphore(self._plan.workers)  # no more images are taken up than can be read at once
        self._state = threading.Condition()
        self._waiting = Scheduler(settings.queue, self._drop_if_gone)
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
        self._threads = [
            threading.Thread(target=self._begin, name="irmsia-load", daemon=True),
            *(
                threading.Thread(target=self._work, args=(inference,), name=f"irmsia-{index}", daemon=True)
                for index, inference in enumerate(self._inferences)
            ),
        ]
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
        ticket = Ticket.of(request)
        try:
            self._admit(ticket)
        except IrmsiaError as error:
            self._observer.refused(request.priority, error.code)
            raise
        self._observer.admitted(request.priority)
        return ticket.future

    def has_room(self, client: str, ahead: int) -> bool:
        """See `irmsia.inference.protocol.TellsRoom.has_room`."""
        with self._state:
            return self._closing or self._waiting.has_place(
                Priority.SINGLE, client, ahead=min(ahead, self._settings.queue // 2)
            )

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
                waiting=len(self._waiting),
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
                self._state.wait_for(lambda: not self._waiting and not self._running, timeout)
                self._abandoned = True
            left = self._waiting.clear()
        for ticket in left:
            self._resolve(ticket, _stopped)
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
            sessions=self._plan.streams,
            threads=settings.threads,
            batch=self._plan.batch,
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

    def _retry_after(self) -> float:
        return max(0.1, len(self._waiting) * self._item_seconds / self._plan.threads)

    def _admit(self, ticket: Ticket) -> None:
        request = ticket.request
        with self._state:
            if self._closing:
                raise CancelledError("the service is stopping")
            if not self._waiting.add(ticket, request.priority, request.client):
                raise OverloadedError("too many requests are waiting; try again later", self._retry_after())
            self._state.notify()

    def _drop_if_gone(self, ticket: Ticket) -> bool:
        if not ticket.future.cancelled():
            return False
        ticket.future.set_running_or_notify_cancel()
        self._observer.dropped(ticket.request.priority)
        return True

    def _work(self, inference: Inference) -> None:
        worker = Worker(
            self._decoder,
            self._ready_models,
            inference,
            at_once=self._plan.batch,
            is_abandoned=lambda: self._abandoned,
        )
        while True:
            turn = _Turn(self._decoding)
            ticket = self._take()
            if ticket is None:
                turn.end()
                return
            begin = time.monotonic()
            self._resolve(ticket, partial(worker.answer, read=turn.end))
            turn.end()
            with self._state:
                self._running -= 1
                self._state.notify_all()
                self._item_seconds += 0.1 * (time.monotonic() - begin - self._item_seconds)

    def _take(self) -> Ticket | None:
        with self._state:
            while True:
                self._state.wait_for(lambda: self._waiting or self._closing)
                ticket = self._waiting.take()
                if ticket is not None:
                    self._running += 1
                if ticket is not None or self._closing:
                    self._state.notify_all()
                    return ticket

    def _resolve(self, ticket: Ticket, work: Callable[[Ticket], Answer]) -> None:
        priority = ticket.request.priority
        if not ticket.future.set_running_or_notify_cancel():
            self._observer.dropped(priority)
            return
        answer = work(ticket)
        ticket.progress.tell(Stage.DONE)
        self._observer.answered(answer.diagnosis, priority=priority, batch=answer.batch)
        ticket.future.set_result(answer.diagnosis)


class _Turn:
    """One thread's turn to take an image and read it; `end` gives it to another."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns: threading.Semaphore | None = turns
        turns.acquire()

    def end(self) -> None:
        """Twice is once."""
        if self._turns is not None:
            self._turns.release()
        self._turns = None


def _stopped(ticket: Ticket) -> Answer:
    return Answer(failed_diagnosis(ticket.request, CancelledError("the service is stopping")))
