"""A few images of every class, the same ones for the same seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from irmsia.datasets.record import Record


def draw_stratified(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Record]:
    """Return up to ``count`` valid records, as evenly from every label as there are, by label and path.

    Unlabelled records count as one more label. With more labels than ``count`` the most frequent ones are drawn from.
    A record is chosen by its digest and the seed alone, so that a set which grows keeps most of its sample.
    """
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.is_valid:
            groups[record.label or ""].append(record)
    for group in groups.values():
        group.sort(key=lambda record: _rank(record, seed))
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    drawn: list[Record] = []
    for turn in range(max(map(len, ordered), default=0)):
        if len(drawn) >= count:
            break
        drawn.extend(group[turn] for group in ordered if turn < len(group))
    return sorted(drawn[:count], key=lambda record: (record.label is None, record.label or "", record.path))


def _rank(record: Record, seed: int) -> float:
    return random.Random(f"{seed}|{record.sha256}|{record.path}").random()
