"""The parts of a dataset: its saved split where it still fits the state, else parts for a first look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np

from irmsia.app.ordered import run_ordered
from irmsia.datasets.balance import group_by_patient
from irmsia.datasets.catalogue import Catalogue
from irmsia.datasets.duplicates import Grey
from irmsia.datasets.groups import group_records
from irmsia.datasets.partition import Shares, report_of, split_by_shares
from irmsia.datasets.quick_groups import quick_groups
from irmsia.datasets.record import Record
from irmsia.datasets.revisions import Dataset
from irmsia.errors import InputError, TimedOutError, WorkerDiedError
from irmsia.imaging.guard import DecoderPool

Track = Callable[[str, int, Iterable[Any]], Iterable[Any]]
"""Gives items through and counts them; of what, and how many: for a progress bar."""

FIRST_LOOK = "first look"
"""Kind of parts that the leak gate has not seen."""

_NAMES = {"validation": "val"}
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """Part by path, what belongs together, and how that came about; ``made``: it is the dataset's saved split."""

    parts: Mapping[str, str] = field(default_factory=dict)
    group_of: Callable[[Record], str] = group_by_patient
    note: Mapping[str, Any] = field(default_factory=dict)
    made: bool = False


def saved_parts(catalogue: Catalogue, dataset: Dataset, records: Sequence[Record]) -> Parts:
    """The split that was saved for this very state of the dataset, else none.

    Where it does not say what belongs together, patients and studies are.
    """
    saved = catalogue.split(dataset.name)
    if saved is None or saved.get("state") != dataset.state:
        return Parts(group_of=_by(group_records(records)))
    return _parts(saved, saved.get("groups") or group_records(records))


def find_parts(
    catalogue: Catalogue,
    dataset: Dataset,
    records: Sequence[Record],
    *,
    pool: DecoderPool,
    workers: int,
    shares: Shares,
    seed: int,
    track: Track,
) -> Parts:
    """`saved_parts`, else parts for a first look, by `irmsia.datasets.quick_groups`.

    Those are not saved: the split of a dataset is what `irmsia data split` made and the leak gate has passed.
    """
    saved = saved_parts(catalogue, dataset, records)
    if saved.made:
        return saved
    valid = [record for record in records if record.is_valid]
    unknown = [record for record in valid if record.patient is None]
    pictures = dict(track("comparing", len(unknown), _pictures(dataset, unknown, pool, workers)))
    groups = quick_groups(valid, {path: small for path, small in pictures.items() if small is not None})
    wanted = shares.as_mapping()
    parts = split_by_shares(valid, groups, seed=seed, shares=wanted)
    report = {"kind": FIRST_LOOK, "seed": seed, "settings": {"ratios": list(wanted.values())}}
    return _parts(report | {"parts": parts, "report": report_of(valid, groups, parts, wanted)}, groups, made=False)


def _parts(saved: Mapping[str, Any], groups: Mapping[str, str], *, made: bool = True) -> Parts:
    parts = {path: _NAMES.get(part, part) for path, part in saved["parts"].items()}
    note = {key: saved.get(key) for key in ("kind", "seed", "settings", "report", "allowed_leak")}
    return Parts(parts, _by(groups), note, made=made)


def _by(groups: Mapping[str, str]) -> Callable[[Record], str]:
    return lambda record: groups.get(record.path, record.path)


def _pictures(
    dataset: Dataset, records: Sequence[Record], pool: DecoderPool, workers: int
) -> Iterator[tuple[str, Grey | None]]:
    """A small grey copy of every picture, in order; null of what cannot be read any more."""
    with ThreadPoolExecutor(workers) as threads:

        def submit(record: Record) -> Future[Grey | None]:
            return threads.submit(_small, pool, dataset, record)

        try:
            for record, small in run_ordered(records, submit, ahead=4 * workers):
                yield record.path, small
        except BaseException:
            pool.close()  # first, so that no thread waits for a file that nobody wants any more
            raise


def _small(pool: DecoderPool, dataset: Dataset, record: Record) -> Grey | None:
    path = PurePosixPath(record.path)
    if path.is_absolute() or ".." in path.parts:  # a catalogue that somebody else has written to
        return None
    try:
        pixels = pool.render(dataset.root / path).pixels
    except (InputError, TimedOutError, WorkerDiedError):
        return None
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
