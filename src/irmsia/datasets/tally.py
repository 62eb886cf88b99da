"""How many files of a dataset are what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from irmsia.datasets.masks import MASK

UNKNOWN = "unknown"
UNLABELLED = "unlabelled"


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one revision; the commonest first.

    Attributes:
        files: all that are catalogued.
        samples: those that nothing is wrong with, masks left out.
        masks: lesion masks.
        formats, modalities, labels: of samples; ``unknown`` where nothing tells, ``unlabelled`` without a label.
        problems: codes.
        patients: how many different ones are known.
    """

    files: int
    samples: int
    masks: int
    formats: Mapping[str, int]
    modalities: Mapping[str, int]
    labels: Mapping[str, int]
    problems: Mapping[str, int]
    patients: int


def make_tally(kinds: Iterable[tuple[str | None, str | None, str | None, str | None, int]], patients: int) -> Tally:
    """From counts by format, modality, problem and label, and the number of patients."""
    formats, modalities, labels, problems = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for format_, modality, problem, label, count in kinds:
        if problem is None:
            formats[format_ or UNKNOWN] += count
            modalities[modality or UNKNOWN] += count
            labels[label or UNLABELLED] += count
        else:
            problems[problem] += count
    masks = problems.pop(MASK, 0)
    samples = formats.total()
    return Tally(
        files=samples + masks + problems.total(),
        samples=samples,
        masks=masks,
        formats=_sorted(formats),
        modalities=_sorted(modalities),
        labels=_sorted(labels),
        problems=_sorted(problems),
        patients=patients,
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
