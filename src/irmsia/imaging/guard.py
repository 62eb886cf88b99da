"""The guard: hostile bytes are read in child processes that may die, hang or swell without harm to anyone else.

Children are spawned, never forked. The pool kills one that takes longer than a frame's time, starts another at once,
and refuses an input that killed two.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from irmsia.errors import (
    CancelledError,
    InternalError,
    IrmsiaError,
    OverloadedError,
    QuarantinedError,
    TimedOutError,
    WorkerDiedError,
)
from irmsia.imaging.decode_input import Given, Source, digest_input, open_input
from irmsia.imaging.decode_process import Child, DiedIdleError, GaveUpError, Heard
from irmsia.imaging.decode_task import (
    FrameRule,
    InspectTask,
    PreparedInput,
    PrepareTask,
    Rendered,
    RenderTask,
    Task,
    Terms,
)
from irmsia.imaging.frames import EvenlySpaced
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.preprocess import ClaheSpec, PreprocessSpec, VoiSpec
from irmsia.imaging.types import Failure, ImageInfo

__all__ = ["DecoderPool", "PreparedInput", "Rendered"]

DEATHS_BEFORE_QUARANTINE = 2
_REMEMBERED_DEATHS = 4096
_CLOSE_S = 2.0
_IDLE_DEATHS = 5

R = TypeVar("R")


class DecoderPool:
    """Reads and prepares images in at most ``workers`` child processes at a time. Thread-safe; calls block.

    Children start when first needed; `warm` starts them all, and a spare one, so that a death costs no start-up time.
    """

    def __init__(self, workers: int, limits: ReadLimits, *, pseudonym_key: bytes | None = None) -> None:
        self._limits = limits
        self._terms = Terms(limits, pseudonym_key)
        self._slots = threading.BoundedSemaphore(workers)
        self._workers = workers
        self._lock = threading.Lock()
        self._idle: deque[Child] = deque()
        self._busy: set[Child] = set()
        self._kept_ready = 0
        self._closed = False
        self._deaths = _Deaths()

    def warm(self) -> None:
        """Start all children and a spare one, in parallel, and return when all but the spare are ready.

        Raises:
            WorkerDiedError, OverloadedError: a child does not start.
        """
        with self._lock:
            self._kept_ready = self._workers + 1
            self._start_missing()
            started = list(self._idle)[: self._workers]
        for child in started:
            child.wait_ready()

    def start(self, children: int) -> None:
        """Start so many children, at most the workers, and wait for none; what fails shows when one is needed."""
        with self._lock, suppress(OverloadedError, WorkerDiedError):
            while not self._closed and len(self._idle) + len(self._busy) < min(children, self._workers):
                self._idle.append(Child(self._terms))

    def prepare(
        self,
        source: Source,
        spec: PreprocessSpec,
        *,
        frames: FrameRule | None = None,
        with_picture: bool = False,
        deadline: float | None = None,
        heard: Heard | None = None,
    ) -> PreparedInput:
        """Read a file and preprocess its frames, at most 64 evenly spaced ones unless ``frames`` says otherwise.

        Args:
            source: the bytes, or a file that the child opens through a descriptor of this process.
            spec: the preprocessing.
            frames: which frames.
            with_picture: also give the first of them as a grey picture.
            deadline: `time.monotonic` by which the answer is of use.
            heard: is told how many frames are decoded, and of how many; not of every one.

        Raises:
            InputError: the bytes cannot be read; QuarantinedError: they killed two children before.
            TimedOutError, WorkerDiedError: the child was ended by its limit or by the input.
            InvalidRequestError: the spec's VOI does not fit the image.
            CancelledError: the pool is closed.
            OverloadedError: this process lacks descriptors or memory to start a child or to take its answer.
        """
        task = PrepareTask(spec, frames or EvenlySpaced(), with_picture)
        return self._expect(PreparedInput, self.run(task, source, deadline=deadline, heard=heard))

    def inspect(self, source: Source, *, deadline: float | None = None) -> ImageInfo:
        """All that is known of a file. Errors are within and not raised, but for CancelledError of a closed pool."""
        try:
            return self._expect(ImageInfo, self.run(InspectTask(), source, deadline=deadline))
        except CancelledError:
            raise
        except IrmsiaError as error:
            return ImageInfo(error=Failure(error.code, error.message))

    def render(
        self,
        source: Source,
        frame: int = 0,
        voi: VoiSpec | None = None,
        *,
        clahe: ClaheSpec | None = None,
        deadline: float | None = None,
    ) -> Rendered:
        """One frame as seen: uint8 (rows, columns), or (rows, columns, 3) for colour. Raises what `prepare` raises."""
        task = RenderTask(frame, voi or VoiSpec(), clahe)
        return self._expect(Rendered, self.run(task, source, deadline=deadline))

    def run(self, task: Task, source: Source, *, deadline: float | None = None, heard: Heard | None = None) -> Any:
        """Have a child run any task of `irmsia.imaging.decode_task` on an input. Raises what `prepare` raises."""
        with open_input(source, self._limits) as given, self._slot(deadline):
            self._deaths.check(given)
            for _ in range(_IDLE_DEATHS):
                child = self._take()
                try:
                    return self._attempt(child, task, given, deadline=deadline, heard=heard)
                except DiedIdleError:
                    continue
                finally:
                    self._give_back(child)
            raise WorkerDiedError("decoder children die before they are given work")

    def digest(self, source: Source) -> str | None:
        """SHA-256 (hex) of an input that could not be answered; null where it cannot be read or is too large."""
        return digest_input(source, self._limits)

    @property
    def busy(self) -> int:
        """Children at work now."""
        with self._lock:
            return len(self._busy)

    def close(self) -> None:
        """End all children and join them. Calls that wait are answered with CancelledError."""
        with self._lock:
            self._closed = True
            children = [*self._idle, *self._busy]
            self._idle.clear()
        for child in children:
            child.hang_up()
        for child in children:
            child.end(_CLOSE_S)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _expect(self, kind: type[R], result: object) -> R:
        if not isinstance(result, kind):
            raise InternalError("a decoder child answered something else")
        return result

    def _attempt(self, child: Child, task: Task, given: Given, *, deadline: float | None, heard: Heard | None) -> Any:
        try:
            return child.run(task, given, frame_seconds=self._limits.frame_seconds, deadline=deadline, heard=heard)
        except GaveUpError:
            raise TimedOutError("the deadline passed while the image was read") from None
        except (TimedOutError, WorkerDiedError):
            if self._closed:
                raise CancelledError("the decoders were closed") from None
            self._deaths.note(given)
            raise

    @contextmanager
    def _slot(self, deadline: float | None) -> Iterator[None]:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._slots.acquire(timeout=left):
            raise TimedOutError("no decoder was free in time")
        try:
            yield
        finally:
            self._slots.release()

    def _take(self) -> Child:
        with self._lock:
            if self._closed:
                raise CancelledError("the decoders were closed")
            child = self._idle.popleft() if self._idle else Child(self._terms)
            self._busy.add(child)
            return child

    def _give_back(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if child.alive and not self._closed:
                self._idle.appendleft(child)
                return
            if not self._closed:
                self._refill()
        child.end(0)

    def _refill(self) -> None:
        """Start what is missing, if the system lets us; else the next input tries again."""
        with suppress(OverloadedError, WorkerDiedError):
            self._start_missing()

    def _start_missing(self) -> None:
        while len(self._idle) + len(self._busy) < self._kept_ready:
            self._idle.append(Child(self._terms))


class _Deaths:
    """Which inputs killed a child, by size and digest; the digest is taken only where the size is known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[int, str], int] = OrderedDict()

    def check(self, given: Given) -> None:
        with self._lock:
            suspicious = any(size == given.size for size, _ in self._counts)
        if not suspicious:
            return
        key = (given.size, given.digest())
        with self._lock:
            if self._counts.get(key, 0) >= DEATHS_BEFORE_QUARANTINE:
                raise QuarantinedError(f"this input ended {DEATHS_BEFORE_QUARANTINE} decoders and is not tried again")

    def note(self, given: Given) -> None:
        key = (given.size, given.digest())
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            self._counts.move_to_end(key)
            while len(self._counts) > _REMEMBERED_DEATHS:
                self._counts.popitem(last=False)
