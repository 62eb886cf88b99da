"""Scans of folders: what is there is read by decoder children, told apart, and kept in the catalogue."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from irmsia.app.compose import open_pool
from irmsia.app.datasets import open_catalogue
from irmsia.app.ordered import run_ordered
from irmsia.datasets.catalogue import Catalogue
from irmsia.datasets.inspect import MOST_FILES, Inspected, batches, inspect_batch
from irmsia.datasets.label_sheet import LabelSheet, read_labels
from irmsia.datasets.naming import PATTERN_SECONDS, check_pattern, find_patients
from irmsia.datasets.record import Record
from irmsia.datasets.rescan import (
    Comparison,
    Layout,
    Settler,
    affected,
    by_digest,
    compare,
    hides_header,
    read_layout,
)
from irmsia.datasets.revisions import Dataset
from irmsia.datasets.scan_journal import ScanJournal, open_scan_journal
from irmsia.datasets.survey import SurveyTask
from irmsia.datasets.tally import Tally
from irmsia.datasets.walk import Stamp, Walked, walk_tree
from irmsia.errors import DatasetNotFoundError, InvalidRequestError
from irmsia.imaging.guard import DecoderPool
from irmsia.settings.tree import Settings

Advance = Callable[[int, int], None]
"""Hears how many files, and how many bytes, were read more."""

Meter = Callable[[int, int], AbstractContextManager[Advance]]
"""Given how many files and bytes are to be read, gives who hears of the progress."""

Readers = Callable[[int], AbstractContextManager[DecoderPool]]
"""Opens decoder children, so many."""

_OPERATION = "scan"
_JOURNALS = "scans"


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan is told. What is null is as in the scan before.

    Attributes:
        labels: a table of labels, with the names of its columns where they are not the usual ones.
        pattern: regular expression that finds the patient in a path; empty: none any more.
        full: read everything again.
        headers: decode no pixels.
    """

    labels: Path | None = None
    path_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    pattern: str | None = None
    full: bool = False
    headers: bool = False


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan found.

    Attributes:
        dataset: as it is now.
        files: regular files of the folder.
        read, resumed, unchanged, moved, removed: of the images among them, how many; ``resumed`` ones were read by an
            earlier scan that did not come to its end.
        others: files that are no images and are not called like one.
        orphan_masks: masks without an image.
        skipped: entries left out, by why.
        unreadable: files that could not be opened, by code; what was known of them stays.
        aliases: names of folders or labels that stand for another label.
        label_rows: rows of the label file, those that no file was found for, names with two answers; null without one.
        tally: counts of the whole dataset.
        seconds: it took.
        bytes_read: of the files that were read.
    """

    dataset: Dataset
    files: int
    read: int
    resumed: int
    unchanged: int
    moved: int
    removed: int
    others: int
    orphan_masks: int
    skipped: Mapping[str, int]
    unreadable: Mapping[str, int]
    aliases: Mapping[str, str]
    label_rows: tuple[int, int, int] | None
    tally: Tally
    seconds: float
    bytes_read: int


@dataclass(slots=True)
class _Reading:
    """What became of the files that were to be read. Images and masks are in the journal."""

    images: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    resumed: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the scans of a dataset were told, kept in its `about`, so that the next one need not be told again."""

    labels: str | None = None
    sheet: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    pattern: str | None = None
    headers: bool = False
    spelled: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> _Memory:
        known = about.get(_OPERATION)
        return cls(**known) if isinstance(known, dict) and known.keys() <= set(cls.__slots__) else cls()

    def told(self, options: ScanOptions) -> _Memory:
        """With what this scan is told."""
        told: dict[str, Any] = {"headers": options.headers}
        if options.labels is not None:
            columns = {name: getattr(options, name) for name in ("path_column", "label_column", "patient_column")}
            told |= {"labels": str(options.labels.absolute()), **columns}
        if options.pattern is not None:
            told["pattern"] = options.pattern or None
        return replace(self, **told)

    def names_differently(self, other: _Memory) -> bool:
        """Whether labels or patients may be others than with ``other``."""
        return _naming(self) != _naming(other)


def _naming(memory: _Memory) -> tuple[str | None, ...]:
    return memory.sheet, memory.path_column, memory.label_column, memory.patient_column, memory.pattern


def scan(
    settings: Settings,
    root: Path,
    name: str,
    options: ScanOptions | None = None,
    *,
    meter: Meter | None = None,
    readers: Readers | None = None,
) -> ScanReport:
    """Bring dataset ``name`` to what lies below ``root`` now; the dataset is made at the first scan.

    Only what is new or has changed is read. What was read is kept whatever ends the scan: the next one goes on.
    ``readers``: children of this scan alone unless told.

    Raises:
        NotFoundError, NotReadableError: there is no such folder, or it cannot be listed.
        InvalidRequestError: the name is malformed, or that of a dataset with another folder; a label file or a pattern
            that cannot be used; all files of the dataset are gone; another scan of it is under way.
        CancelledError, OverloadedError, StorageFullError, UnavailableError: nothing is lost, the next scan goes on.
    """
    began = time.monotonic()
    options = options or ScanOptions()
    top = Path(os.path.realpath(root))
    walked = walk_tree(top)
    with open_catalogue(settings) as catalogue:
        reader = _Reader(settings, meter, readers)
        told, sheet = _told(settings, _remembered(catalogue, name, top), options)
        dataset = _dataset(catalogue, name, top)
        return _Scan(settings, catalogue, dataset, walked, reader, told, sheet).run(options.full, began)


def look(
    settings: Settings, root: Path, *, meter: Meter | None = None, skipped: Counter[str] | None = None
) -> Iterator[Record]:
    """What the headers below ``root`` say, in the order of their paths; no pixel is decoded, nothing digested or kept.

    Records have no ``sha256``. ``skipped`` takes what was left out, by why. Raises what `scan` raises of the folder.
    """
    top = Path(os.path.realpath(root))
    walked = walk_tree(top)
    counts: Counter[str] = Counter() if skipped is None else skipped
    counts.update(walked.skipped)
    task = SurveyTask(str(top), headers=True, digests=False)
    for found in _Reader(settings, meter).inspect(task, walked.files):
        if found.record is not None:
            yield found.record
        else:
            counts[found.problem or "not an image"] += 1


def _remembered(catalogue: Catalogue, name: str, top: Path) -> _Memory:
    """What earlier scans of the dataset were told.

    Raises:
        InvalidRequestError: the dataset of that name is of another folder.
    """
    try:
        dataset = catalogue.get(name)
    except DatasetNotFoundError:
        return _Memory()
    if dataset.root != top:
        raise InvalidRequestError("the dataset of that name has another folder; take another name, or remove it first")
    return _Memory.of(catalogue.about(name))


def _told(settings: Settings, before: _Memory, options: ScanOptions) -> tuple[_Memory, LabelSheet | None]:
    """What this scan is told, and its label file; all of it is checked before anything is made or read.

    A label file that an earlier scan named may be gone: what it said stays.
    """
    told = before.told(options)
    if options.pattern:
        _find_patients(settings, options.pattern, [])
    if told.labels is None or (options.labels is None and not Path(told.labels).exists()):
        return told, None
    file = Path(told.labels)
    columns = {name: getattr(told, name) for name in ("path_column", "label_column", "patient_column")}
    sheet = read_labels(file, **columns)
    return replace(told, sheet=hashlib.sha256(file.read_bytes()).hexdigest()), sheet


def _find_patients(settings: Settings, pattern: str, paths: list[str]) -> dict[str, str]:
    check_pattern(pattern)
    limits = settings.limits.model_copy(update={"frame_seconds": PATTERN_SECONDS})
    with open_pool(settings.model_copy(update={"limits": limits}), 1) as pool:
        return find_patients(pool.run, pattern, paths)


def _dataset(catalogue: Catalogue, name: str, top: Path) -> Dataset:
    try:
        return catalogue.get(name)
    except DatasetNotFoundError:
        return catalogue.create(name, top)


class _Scan:
    """One scan of one dataset."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        dataset: Dataset,
        walked: Walked,
        reader: _Reader,
        told: _Memory,
        sheet: LabelSheet | None,
    ) -> None:
        self._settings, self._catalogue, self._dataset, self._walked = settings, catalogue, dataset, walked
        self._reader, self._told, self._sheet = reader, told, sheet
        self._before = _Memory.of(catalogue.about(dataset.name))

    def run(self, full: bool, began: float) -> ScanReport:
        full = full or (self._before.headers and not self._told.headers)
        known = self._catalogue.stamps(self._dataset.name)
        if known and not self._walked.files:
            raise InvalidRequestError(
                "the folder holds no file any more; is its disk there? The dataset stays as it was"
            )
        renamed = known.keys() if self._told.names_differently(self._before) else ()
        comparison = self._compare(known, renamed, full)
        about = {"root": str(self._dataset.root), "full": full, "headers": self._told.headers}
        with open_scan_journal(self._settings.home / _JOURNALS, self._dataset.name, about) as journal:
            reading = self._read(comparison.to_read, journal)
            dataset, settler, removed = self._keep(known, comparison, reading, journal, set(renamed))
            journal.finish()
        size = sum(comparison.to_read[path][0] for path in reading.images)
        return ScanReport(
            dataset=dataset,
            files=len(self._walked.files),
            read=len(reading.images) - reading.resumed,
            resumed=reading.resumed,
            unchanged=comparison.same,
            moved=len(settler.moved),
            removed=len(removed) - len(settler.moved),
            others=len(reading.others),
            orphan_masks=len(settler.layout.pairing.orphans),
            skipped=dict(sorted(self._walked.skipped.items())),
            unreadable=dict(sorted(Counter(reading.unreadable.values()).items())),
            aliases=settler.layout.classes.aliases,
            label_rows=None if self._sheet is None else (self._sheet.rows, self._sheet.unused, self._sheet.conflicts),
            tally=self._catalogue.tally(dataset.name),
            seconds=time.monotonic() - began,
            bytes_read=size,
        )

    def _compare(self, known: Mapping[str, Stamp], renamed: Iterable[str], full: bool) -> Comparison:
        comparison = compare(self._walked, known, full=full)
        if not renamed:
            return comparison
        again = {
            path: self._walked.files[path]
            for path, record in self._catalogue.some(self._dataset.name, list(renamed)).items()
            if hides_header(record) and path in self._walked.files
        }
        to_read = {**comparison.to_read, **again}
        return Comparison(to_read, len(self._walked.files) - len(to_read), comparison.gone)

    def _read(self, to_read: Mapping[str, Stamp], journal: ScanJournal) -> _Reading:
        """Read what the journal does not hold yet, and note it there a batch at a time."""
        waiting = {path: stamp for path, stamp in to_read.items() if journal.stamps.get(path) != stamp}
        reading = _Reading()
        task = SurveyTask(str(self._dataset.root), headers=self._told.headers)
        noted: list[tuple[str, Stamp, Record | None]] = []
        for found in self._reader.inspect(task, waiting, flush=lambda: _flush(journal, noted)):
            if found.problem is not None:
                reading.unreadable[found.path] = found.problem
            else:
                noted.append((found.path, waiting[found.path], found.record))
        _flush(journal, noted)
        reading.images = {path for path in to_read if path in journal.images and path not in reading.unreadable}
        reading.resumed = len(reading.images - waiting.keys())
        reading.others = to_read.keys() - reading.images - reading.unreadable.keys()
        return reading

    def _keep(
        self,
        known: Mapping[str, Stamp],
        comparison: Comparison,
        reading: _Reading,
        journal: ScanJournal,
        renamed: set[str],
    ) -> tuple[Dataset, Settler, set[str]]:
        """Commit what was read, and what changes beside it."""
        removed = {*comparison.gone, *(reading.others & known.keys())}
        after = (known.keys() | reading.images) - removed
        labels = self._sheet.labels() if self._sheet is not None else {}
        layout = read_layout(after, spelled=self._before.spelled, labels=labels)
        same = after == known.keys() and not renamed
        before = layout if same else read_layout(known.keys(), spelled=self._before.spelled)
        beside = affected(before, layout, after, reading.images) | (renamed & after - reading.images)
        settler = self._settler(layout, reading, beside, removed, journal)
        dataset = self._dataset
        if reading.images or beside or removed:
            dataset = self._commit(settler, reading, beside, removed, journal)
        self._remember(layout)
        return dataset, settler, removed

    def _settler(
        self, layout: Layout, reading: _Reading, beside: set[str], removed: set[str], journal: ScanJournal
    ) -> Settler:
        some = partial(self._catalogue.some, self._dataset.name)
        masks = {mask for path in reading.images | beside for mask in layout.pairing.of_image.get(path, ())}
        known_masks = some(masks - reading.images) if masks - reading.images else {}
        pattern, paths = self._told.pattern, sorted(reading.images | beside)
        settler = Settler(
            self._dataset.name,
            layout,
            patients=_find_patients(self._settings, pattern, paths) if pattern is not None and paths else {},
            sheet=self._sheet,
            before=some(paths) if self._dataset.samples else {},
            gone=by_digest(some(removed).values()) if removed and reading.images else {},
        )
        read_masks = journal.records(masks & reading.images) if masks else ()
        settler.masks = known_masks | {record.path: settler.settle(record) for record in read_masks}
        return settler

    def _commit(
        self, settler: Settler, reading: _Reading, beside: set[str], removed: set[str], journal: ScanJournal
    ) -> Dataset:
        def changed() -> Iterator[Record]:
            for record in journal.records(reading.images):
                yield settler.settle(record)
            for path in sorted(beside & settler.before.keys()):
                yield settler.settle(settler.before[path])

        note = {"read": len(reading.images), "removed": len(removed), "aliases": dict(settler.layout.classes.aliases)}
        base = self._dataset.revision
        name = self._dataset.name
        return self._catalogue.commit(name, changed(), removed, operation=_OPERATION, note=note, base=base)

    def _remember(self, layout: Layout) -> None:
        told = replace(self._told, spelled=dict(layout.classes.spelled))
        if told != self._before:
            self._catalogue.describe(self._dataset.name, {_OPERATION: asdict(told)})


def _flush(journal: ScanJournal, noted: list[tuple[str, Stamp, Record | None]]) -> None:
    if noted:
        journal.append(noted)
        noted.clear()


class _Reader:
    """Has decoder children read files."""

    def __init__(self, settings: Settings, meter: Meter | None, readers: Readers | None = None) -> None:
        self._workers = settings.engine.workers
        self._meter = meter
        self._open = readers or partial(open_pool, settings)

    def inspect(
        self, task: SurveyTask, files: Mapping[str, Stamp], *, flush: Callable[[], None] = lambda: None
    ) -> Iterator[Inspected]:
        """Read files, in order; ``flush`` is called when a batch has been taken."""
        if not files:
            return
        workers = max(1, min(self._workers, len(files)))
        total = sum(size for size, _ in files.values())
        watched = nullcontext(_nobody) if self._meter is None else self._meter(len(files), total)
        with watched as advance, self._open(workers) as pool, ThreadPoolExecutor(workers) as threads:
            ask = partial(inspect_batch, pool.run, task)
            try:
                parted = batches(files.items(), most_files=max(1, min(MOST_FILES, len(files) // (4 * workers))))
                for batch, found in run_ordered(parted, lambda batch: threads.submit(ask, batch), ahead=2 * workers):
                    yield from found
                    flush()
                    advance(len(batch), sum(size for _, (size, _) in batch))
            except BaseException:
                pool.close()  # first, so that no thread waits for a file that nobody wants any more
                raise


def _nobody(count: int, size: int) -> None:
    """Hears nothing."""
