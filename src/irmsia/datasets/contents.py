"""What a dataset holds, counted: the first look that a person takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from irmsia.datasets.record import Record


def count_contents(records: Sequence[Record]) -> dict[str, Any]:
    """Valid samples, and how many have each problem, format, modality and region; how many patients are known."""
    return {
        "valid": sum(record.is_valid for record in records),
        "problems": _count(record.problem for record in records),
        "formats": _count(record.format for record in records),
        "modalities": _count(record.modality.value if record.modality else None for record in records),
        "regions": _count(record.region.value if record.region else None for record in records),
        "patients": len({record.patient for record in records if record.patient is not None}),
    }


def _count(values: Iterable[str | None]) -> dict[str, int]:
    """By value, the most frequent first; what is unknown is not counted."""
    counted = Counter(value for value in values if value is not None)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
