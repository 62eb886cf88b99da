"""Has decoder children read the files of a folder, several at once, in order, with a bounded number under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from types import TracebackType

from irmsia.app.compose import open_pool
from irmsia.app.ordered import run_ordered
from irmsia.datasets.inspect import MOST_FILES, Inspected, batches, inspect_batch
from irmsia.datasets.survey import SurveyTask
from irmsia.datasets.walk import Stamp
from irmsia.imaging.guard import DecoderPool
from irmsia.settings.tree import Settings

Advance = Callable[[int, int], None]
"""Hears how many files, and how many bytes, were read more."""

Meter = Callable[[int, int], AbstractContextManager[Advance]]
"""Given how many files and bytes are to be read, gives who hears of the progress."""

Readers = Callable[[int], AbstractContextManager[DecoderPool]]
"""Opens decoder children, so many."""


class FileReader:
    """Decoder children that read files of a folder; gone when its context ends."""

    def __init__(
        self, settings: Settings, files: int, *, meter: Meter | None = None, readers: Readers | None = None
    ) -> None:
        """For a folder of so many files. ``readers``: children of its own unless told."""
        self._workers = max(1, min(settings.engine.workers, files))
        self._meter = meter
        self._open = readers or partial(open_pool, settings)
        self._stack = ExitStack()

    def __enter__(self) -> FileReader:
        self._pool = self._stack.enter_context(self._open(self._workers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, files: int) -> None:
        """Let children start for so many files. They are not waited for: they import while the catalogue is read."""
        self._pool.start(min(self._workers, files))

    def inspect(
        self, task: SurveyTask, files: Mapping[str, Stamp], *, flush: Callable[[], None] = lambda: None
    ) -> Iterator[Inspected]:
        """Read files, in order; ``flush`` is called when a batch has been taken."""
        if not files:
            return
        workers = min(self._workers, len(files))
        total = sum(size for size, _ in files.values())
        watched = nullcontext(_nobody) if self._meter is None else self._meter(len(files), total)
        with watched as advance, ThreadPoolExecutor(workers) as threads:
            ask = partial(inspect_batch, self._pool.run, task)
            parted = batches(files.items(), most_files=max(1, min(MOST_FILES, len(files) // (4 * workers))))
            try:
                for batch, found in run_ordered(parted, lambda batch: threads.submit(ask, batch), ahead=2 * workers):
                    yield from found
                    flush()
                    advance(len(batch), sum(size for _, (size, _) in batch))
            except BaseException:
                self._pool.close()  # first, so that no thread waits for a file that nobody wants any more
                raise


def _nobody(count: int, size: int) -> None:
    """Hears nothing."""
