"""Grouped and stratified split: no patient and no near-duplicate cluster crosses it (spec validity.md)."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from irmsia.datasets.samples import Sample

Part = Literal["train", "validation", "test"]

PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class SplitRatio:
    """Shares of the images, summing to 1."""

    train: float = 0.70
    validation: float = 0.15
    test: float = 0.15

    def share(self, part: Part) -> float:
        """Return the share of ``part``, 0..1."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


def split_samples(
    samples: Sequence[Sample], *, seed: int, ratio: SplitRatio | None = None, fixed: Mapping[str, Part] | None = None
) -> dict[str, Part]:
    """Return the part of every group, keyed by ``group_key``.

    Each source is split by itself. Groups go, largest first and in seeded order among equals, to the part that
    lacks most of the group's classes, so that every class keeps the ratio as nearly as whole groups allow.

    Args:
        samples: with ``group`` filled.
        seed: of the order among groups of one size.
        ratio: 70/15/15 where None.
        fixed: parts that are decided already (a sealed list); they are kept and count towards the ratio.
    """
    parts: dict[str, Part] = {}
    for source in sorted({sample.source for sample in samples}):
        chosen = [sample for sample in samples if sample.source == source]
        parts.update(_split_source(chosen, random.Random(f"{seed}|{source}"), ratio or SplitRatio(), fixed or {}))
    return parts


def group_key(sample: Sample) -> str:
    """Return the group's name across sources: ``source|group``."""
    return f"{sample.source}|{sample.group}"


def _split_source(
    samples: Sequence[Sample], order: random.Random, ratio: SplitRatio, fixed: Mapping[str, Part]
) -> dict[str, Part]:
    terms: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        terms[group_key(sample)][sample.term] += 1
    total = Counter(sample.term for sample in samples)
    held: dict[Part, Counter[str]] = {part: Counter() for part in PARTS}
    parts: dict[str, Part] = {}
    for group in _ordered(terms, order):
        part = fixed.get(group) or _neediest(terms[group], held, total, ratio)
        parts[group] = part
        held[part].update(terms[group])
    return parts


def _ordered(terms: Mapping[str, Counter[str]], order: random.Random) -> list[str]:
    names = sorted(terms)
    order.shuffle(names)
    return sorted(names, key=lambda name: -terms[name].total())


def _neediest(group: Counter[str], held: Mapping[Part, Counter[str]], total: Counter[str], ratio: SplitRatio) -> Part:
    """Return the part whose wanted share of the group's classes is least filled."""

    def lack(part: Part) -> float:
        wanted = sum(
            count * (ratio.share(part) * total[term] - held[part][term]) / total[term] for term, count in group.items()
        )
        return wanted / ratio.share(part)

    return max(PARTS, key=lack)
