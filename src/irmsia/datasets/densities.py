"""How sizes and intensities lie, class by class: what the plots of a dataset show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from irmsia.datasets.record import Record

_BINS = 32
_MOST_POINTS = 800
_WHOLE = {"uint8": (0.0, 256.0)}


def class_names(records: Sequence[Record], most: int = 8) -> list[str | None]:
    """Labels of the valid records, the most frequent first, at most so many; null stands for unlabelled."""
    counted = Counter(record.label for record in records if record.is_valid)
    ordered = sorted(counted.items(), key=lambda item: (item[0] is None, -item[1], item[0] or ""))
    return [name for name, _ in ordered[:most]]


def size_points(records: Sequence[Record], names: Sequence[str | None]) -> list[tuple[float, float, int, int]]:
    """(columns, rows, images, number of the class) of the classes ``names``; many sizes are rounded together."""
    number = {name: place for place, name in enumerate(names)}
    sized = [
        (row.columns, row.rows, number[row.label])
        for row in records
        if row.is_valid and row.label in number and row.rows is not None and row.columns is not None
    ]
    if not sized:
        return []
    step, widest = 1, max(max(columns, rows) for columns, rows, _ in sized)
    points = Counter(sized)
    while len(points) > _MOST_POINTS and step < widest:
        step *= 2
        points = Counter((columns // step * step, rows // step * step, place) for columns, rows, place in sized)
    return [(float(columns), float(rows), count, place) for (columns, rows, place), count in points.items()]


def intensity_densities(
    records: Sequence[Record], names: Sequence[str | None]
) -> tuple[str, tuple[float, float], list[list[float]]]:
    """Of the most frequent data type: its name, the range of the bins, and for each class the shares of 32 bins.

    What is binned is the mean of an image's stored values.
    """
    dtypes = Counter(row.dtype for row in records if row.is_valid and row.intensities is not None and row.dtype)
    if not dtypes:
        return "", (0.0, 1.0), []
    dtype = dtypes.most_common(1)[0][0] or ""
    means: defaultdict[str | None, list[float]] = defaultdict(list)
    for row in records:
        if row.is_valid and row.dtype == dtype and row.intensities is not None and np.isfinite(row.intensities.mean):
            means[row.label].append(row.intensities.mean)
    everyone = [value for name in names for value in means[name]]
    if not everyone:
        return dtype, (0.0, 1.0), []
    low, high = _WHOLE.get(dtype, (min(everyone), max(everyone)))
    limits = (low, high if high > low else low + 1.0)
    counted = [np.histogram(means[name], bins=_BINS, range=limits)[0] for name in names]
    return dtype, limits, [(row / max(1, row.sum())).tolist() for row in counted]


def patient_bars(histogram: Sequence[tuple[int, int]], most: int = 12) -> list[tuple[str, float]]:
    """(images of one patient, patients): each number by itself, the last ones together where there are many."""
    if len(histogram) <= most:
        return [(str(images), float(patients)) for images, patients in histogram]
    head, tail = histogram[: most - 1], histogram[most - 1 :]
    last = f"{tail[0][0]}–{tail[-1][0]}"
    return [(str(images), float(patients)) for images, patients in head] + [(last, float(sum(n for _, n in tail)))]
