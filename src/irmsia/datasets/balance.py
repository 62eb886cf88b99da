"""Balances classes: by leaving images out, or by repeating them as counts; never a copy of a file.

Only the train part is touched, so that no image stands in two parts and validation and test keep their class ratio.
Groups (a patient, a cluster of near-duplicates) are left out whole as far as the counts allow.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from irmsia.datasets.record import Record
from irmsia.errors import InvalidRequestError

TRAIN = "train"
UNLABELLED = ""

ClassName = tuple[str, ...]


class Method(StrEnum):
    """Leave images of large classes out, or repeat images of small ones."""

    UNDER = "under"
    OVER = "over"


class By(StrEnum):
    """What makes a class."""

    LABEL = "label"
    REGION = "region"
    ANOMALY = "anomaly"
    MODALITY = "modality"


@dataclass(frozen=True, slots=True)
class Balanced:
    """What a balanced train part holds.

    Attributes:
        repeats: by path, how often an image is learnt from in an epoch; 0: left out. All paths of the valid records
            that have a class; outside train always 1.
        before, after: images by class in train; ``after`` counts repetitions.
        without_class: valid images that lack a word the classes are made of; they are in no list.
        parted_groups: groups of which only a part was left out.
    """

    repeats: Mapping[str, int]
    before: Mapping[ClassName, int]
    after: Mapping[ClassName, int]
    without_class: int
    parted_groups: int


def parse_by(text: str) -> tuple[By, ...]:
    """``label``, ``region``, ``label,region``; `InvalidRequestError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) != len(words) or not set(words) <= set(By):
        raise InvalidRequestError(f"classes are made of one or more of {', '.join(By)}, parted by commas")
    return tuple(By(word) for word in words)


def class_of(record: Record, by: Sequence[By]) -> ClassName | None:
    """The class of a record; null where it lacks one of the words."""
    words = [_word(record, one) for one in by]
    return None if None in words else tuple(word for word in words if word is not None)


def balance(
    records: Sequence[Record],
    *,
    by: Sequence[By],
    method: Method,
    seed: int,
    parts: Mapping[str, str] | None,
    group_of: Callable[[Record], str] | None = None,
) -> Balanced:
    """Give every class of the train part the same number of images.

    Args:
        records: of a dataset; unreadable ones are passed over.
        by: what makes a class.
        method: ``under``: each class gets as many as the smallest has; ``over``: as many as the largest has.
        seed: of what is left out or repeated once more; the order of the records does not matter.
        parts: by path; files without one are in no list. Null: the set is not split, and all of it counts as train.
        group_of: what belongs together; patients, else single files, where null.

    Raises:
        InvalidRequestError: repeating a set that is not split (its copies would part later), or no image has a class.
    """
    if parts is None and method is Method.OVER:
        raise InvalidRequestError("split the dataset first: what is repeated must stay within the train part")
    valid = [record for record in records if record.is_valid and (parts is None or record.path in parts)]
    named = {record.path: class_of(record, by) for record in valid}
    train: dict[ClassName, list[Record]] = defaultdict(list)
    for record in valid:
        name = named[record.path]
        if name is not None and (parts is None or parts[record.path] == TRAIN):
            train[name].append(record)
    if not train:
        raise InvalidRequestError("no image of the train part has a class to balance by")
    choose = _Under(group_of or group_by_patient) if method is Method.UNDER else _Over()
    target = choose.target(len(members) for members in train.values())
    repeats = {path: 1 for path, name in named.items() if name is not None}
    for name, members in sorted(train.items()):
        repeats |= choose.repeats(members, target, random.Random(f"{seed}|{name}"))
    return Balanced(
        repeats=repeats,
        before={name: len(members) for name, members in sorted(train.items())},
        after={name: sum(repeats[record.path] for record in members) for name, members in sorted(train.items())},
        without_class=sum(name is None for name in named.values()),
        parted_groups=choose.parted,
    )


def balanced_per_region(
    records: Sequence[Record],
    count: int,
    *,
    seed: int,
    parts: Mapping[str, str] | None = None,
    group_of: Callable[[Record], str] | None = None,
) -> dict[str, list[str]]:
    """A subset a region: at most ``count`` images, as many of each label, spread over the parts as the region is.

    Args:
        records: with their regions; unreadable ones are passed over. Unlabelled images count as one more label only
            in a region without any label.
        count: images of one region at most.
        seed: of what is chosen.
        parts: by path, where the set is split.
        group_of: what belongs together; patients, else single files, where null.

    Returns:
        By region the sorted paths; a region with fewer images than labels to share among is left out.
    """
    if count < 1:
        raise InvalidRequestError("a balanced set holds at least one image")
    regions: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.is_valid and record.region is not None:
            regions[record.region.value].append(record)
    subsets = {
        region: _subset(members, count, f"{seed}|{region}", parts or {}, group_of or group_by_patient)
        for region, members in sorted(regions.items())
    }
    return {region: paths for region, paths in subsets.items() if paths}


def group_by_patient(record: Record) -> str:
    """The patient of its source, else the file itself."""
    return f"{record.source}|{record.patient}" if record.patient else record.path


def count_classes(records: Iterable[Record], by: Sequence[By]) -> dict[ClassName, int]:
    """Valid images by class."""
    names = (class_of(record, by) for record in records if record.is_valid)
    return dict(sorted(Counter(name for name in names if name is not None).items()))


class _Under:
    """Leaves out of each class what the smallest does not have, whole groups first."""

    def __init__(self, group_of: Callable[[Record], str]) -> None:
        self._group_of = group_of
        self.parted = 0

    def target(self, counts: Iterable[int]) -> int:
        return min(counts)

    def repeats(self, members: Sequence[Record], target: int, order: random.Random) -> dict[str, int]:
        kept, parted = _choose(members, target, order, self._group_of)
        self.parted += parted
        return {record.path: int(record.path in kept) for record in members}


class _Over:
    """Repeats the images of each class as evenly as possible."""

    parted = 0

    def target(self, counts: Iterable[int]) -> int:
        return max(counts)

    def repeats(self, members: Sequence[Record], target: int, order: random.Random) -> dict[str, int]:
        times, left = divmod(target, len(members))
        paths = sorted(record.path for record in members)
        once_more = set(order.sample(paths, left))
        return {path: times + (path in once_more) for path in paths}


def _choose(
    members: Sequence[Record], wanted: int, order: random.Random, group_of: Callable[[Record], str]
) -> tuple[set[str], int]:
    """Paths of exactly ``wanted`` members: whole groups while they fit, then a part of one; and whether of one (1)."""
    groups: dict[str, list[str]] = defaultdict(list)
    for record in members:
        groups[group_of(record)].append(record.path)
    names = sorted(groups)
    order.shuffle(names)
    kept: set[str] = set()
    passed_over = []
    for name in names:
        if len(kept) + len(groups[name]) <= wanted:
            kept.update(groups[name])
        else:
            passed_over.append(name)
    lacking = wanted - len(kept)
    if lacking:  # every group that was passed over is larger than what is lacking
        kept.update(sorted(groups[passed_over[0]])[:lacking])
    return kept, int(lacking > 0)


def _subset(
    members: Sequence[Record], count: int, seed: str, parts: Mapping[str, str], group_of: Callable[[Record], str]
) -> list[str]:
    labels: dict[str, list[Record]] = defaultdict(list)
    for record in members:
        labels[record.label or UNLABELLED].append(record)
    if len(labels) > 1:
        labels.pop(UNLABELLED, None)
    each = min(count // len(labels), *(len(found) for found in labels.values()))
    paths: list[str] = []
    for label, found in sorted(labels.items()):
        by_part: dict[str, list[Record]] = defaultdict(list)
        for record in found:
            by_part[parts.get(record.path, TRAIN)].append(record)
        for part, quota in _quotas({part: len(held) for part, held in by_part.items()}, each).items():
            chosen, _ = _choose(by_part[part], quota, random.Random(f"{seed}|{label}|{part}"), group_of)
            paths.extend(chosen)
    return sorted(paths)


def _quotas(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Share ``total`` in the ratio of the counts: largest remainders, no share above its count."""
    everything = sum(counts.values())
    quotas = {name: total * count // everything for name, count in counts.items()}
    rest = sorted(counts, key=lambda name: (-(total * counts[name] % everything), name))
    for name in rest[: total - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _word(record: Record, by: By) -> str | None:
    if by is By.LABEL:
        return record.label
    told = {By.REGION: record.region, By.ANOMALY: record.anomaly, By.MODALITY: record.modality}[by]
    return None if told is None else told.value
