"""One thread's work: a ticket is read in a decoder child and put through the network. A failure is an answer, too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import CancelledError, InternalError, IrmsiaError, NotReadableError, from_system
from irmsia.findings.types import Diagnosis, Evidence, Problem, Timings
from irmsia.imaging.decode_task import FrameRule, PreparedInput
from irmsia.imaging.frames import EvenlySpaced, OneFrame
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.batcher import Inference
from irmsia.inference.model import ReadyModel
from irmsia.inference.pipeline import SOFTWARE, Case, answer_case, check_request
from irmsia.inference.protocol import DiagnoseRequest, Stage
from irmsia.inference.ready import ReadyModels
from irmsia.inference.runtimes.protocol import Tensors
from irmsia.inference.ticket import Ticket
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
        heard: Callable[[int, int], None] | None = None,
    ) -> PreparedInput:
        """Read ``source``, preprocess the frames of that rule; raises the leaves of `InputError` and `ServiceError`.

        ``heard`` is told how many frames are decoded, and of how many; all of them: the rest is preprocessing.
        """
        ...

    def digest(self, source: bytes | Path) -> str | None:
        """SHA-256 (hex) of a source that could not be answered, null where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A diagnosis, and how many images the largest inference for it held (0: none ran)."""

    diagnosis: Diagnosis
    batch: int = 0


class Worker:
    """Answers one ticket after another, on one thread.

    Args:
        decoder: reads and prepares images.
        models: those that are ready; blocks until there are any, and raises why there are none.
        inference: this thread's way to the networks.
        at_once: frames of one image that go through the network together.
        is_abandoned: whether the engine wants no more answers.
    """

    def __init__(
        self,
        decoder: Decoder,
        models: Callable[[], ReadyModels],
        inference: Inference,
        *,
        at_once: int = 1,
        is_abandoned: Callable[[], bool],
    ) -> None:
        self._decoder = decoder
        self._models = models
        self._inference = inference
        self._at_once = at_once
        self._is_abandoned = is_abandoned

    def answer(self, ticket: Ticket, *, read: Callable[[], None]) -> Answer:
        """Of a ticket whose turn it is; never raises. Calls ``read`` once its image is decoded."""
        queued_ms = ticket.waited_ms
        try:
            answer = self._diagnose(ticket, read)
        except IrmsiaError as error:
            answer = self._failed(ticket, error)
        except (OSError, MemoryError) as error:
            self._tell_bug(error)
            answer = self._failed(ticket, from_system(error, "the image cannot be answered now"))
        except Exception as error:  # noqa: BLE001  # edge of an item: it fails alone
            self._tell_bug(error)
            answer = self._failed(ticket, InternalError("this is a bug; the log says where"))
        timings = answer.diagnosis.timings_ms or Timings()
        timings = replace(timings, queue=queued_ms, total=ticket.waited_ms)
        return replace(answer, diagnosis=replace(answer.diagnosis, timings_ms=timings))

    def _tell_bug(self, error: Exception) -> None:
        self._inference.drop()
        log_event(_LOG, logging.ERROR, "item failed", stack=format_stack(error))

    def _failed(self, ticket: Ticket, error: IrmsiaError) -> Answer:
        """The failed item with the digest of what failed; not where nobody waits for it any more."""
        wanted = not isinstance(error, CancelledError) and not ticket.is_late
        digest = self._decoder.digest(ticket.request.source) if wanted else None
        return Answer(failed_diagnosis(ticket.request, error, digest))

    def _diagnose(self, ticket: Ticket, read: Callable[[], None]) -> Answer:
        request = ticket.request
        self._check(ticket)
        models = self._models()
        model = models.find(request.model)
        check_request(request, model)
        self._check(ticket)
        ticket.progress.tell(Stage.DECODING)
        prepared = self._decoder.prepare(
            request.source,
            model.bundle.manifest.preprocessing,
            frames=EvenlySpaced(),
            with_picture=request.overlay,
            deadline=request.deadline,
            heard=ticket.progress.tell_decoded if request.progress is not None else None,
        )
        read()
        ticket.progress.tell(Stage.PREPROCESSING, 1.0)
        ticket.check()
        batches = _Batches(self._inference, model, models.all)
        case = Case(
            request,
            prepared,
            model,
            check=lambda: self._check(ticket),
            show=lambda frame: self._show(ticket, model, prepared, frame),
            tell=ticket.progress.tell,
            at_once=self._at_once,
        )
        return Answer(answer_case(case, batches.infer), batches.largest)

    def _show(self, ticket: Ticket, model: ReadyModel, prepared: PreparedInput, frame: int) -> NDArray[np.uint8] | None:
        self._check(ticket)
        source, spec, deadline = ticket.request.source, model.bundle.manifest.preprocessing, ticket.request.deadline
        again = self._decoder.prepare(source, spec, frames=OneFrame(frame), with_picture=True, deadline=deadline)
        if again.info.input_sha256 != prepared.info.input_sha256:
            raise NotReadableError("the file changed while it was read")
        return again.picture

    def _check(self, ticket: Ticket) -> None:
        """Raise when nobody wants the answer any more."""
        ticket.check()
        if self._is_abandoned():
            raise CancelledError("the service is stopping")


class _Batches:
    """One image's inferences, with the size of the largest."""

    def __init__(self, inference: Inference, model: ReadyModel, ready: Collection[ReadyModel]) -> None:
        self.largest = 0
        self._inference = inference
        self._model = model
        self._ready = ready

    def infer(self, images: NDArray[np.float32]) -> Tensors:
        tensors, size = self._inference.infer(self._model, self._ready, images)
        self.largest = max(self.largest, size)
        return tensors


def failed_diagnosis(request: DiagnoseRequest, error: IrmsiaError, input_sha256: str | None = None) -> Diagnosis:
    """The answer to an item that failed with ``error``."""
    return Diagnosis(
        input=request.input,
        evidence=Evidence(input_sha256=input_sha256, software=SOFTWARE),
        timings_ms=Timings(),
        error=Problem(error.code, error.message),
    )
