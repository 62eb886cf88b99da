"""Exact statistics of pixel values from how often each value occurs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_EXACT_COUNT = 1 << 24  # calcHist counts in float32, which is exact up to here


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distinct ``values``, ascending, and how many pixels hold each (``counts``, all positive)."""

    values: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Number of pixels."""
        return float(self.counts.sum())

    def map(self, tone: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, single: bool = False) -> Distribution:
        """The distribution after ``tone``; with ``single`` values that are equal in float32 count as equal."""
        mapped = tone(self.values)
        return from_counts(mapped.astype(np.float32).astype(np.float64) if single else mapped, self.counts)

    def with_value(self, value: float, count: float) -> Distribution:
        """The same with ``count`` more pixels of ``value``."""
        return from_counts(np.append(self.values, value), np.append(self.counts, count))

    def without_most_frequent(self) -> Distribution:
        """The same without its most frequent value (the lowest of several), unless it has no other."""
        if len(self.values) < 2:
            return self
        rest = np.arange(len(self.values)) != int(self.counts.argmax())
        return Distribution(self.values[rest], self.counts[rest])

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Two percentiles (0..100), interpolated linearly between ranks; (0, 0) of no pixels."""
        if not self.values.size:
            return 0.0, 0.0
        ends = np.cumsum(self.counts)
        return _at_rank(self.values, ends, low), _at_rank(self.values, ends, high)

    def largest_share(self) -> float:
        """Share of the pixels that hold the most frequent value; 1 of no pixels."""
        return float(self.counts.max() / self.total) if self.values.size else 1.0


def from_counts(values: NDArray[np.float64], counts: NDArray[np.float64]) -> Distribution:
    """From values in any order, repeated or with count 0."""
    seen = counts > 0
    ordered, numbers = values[seen], counts[seen]
    if (ordered[1:] < ordered[:-1]).any():
        order = np.argsort(ordered, kind="stable")
        ordered, numbers = ordered[order], numbers[order]
    if not ordered.size:
        return Distribution(ordered, numbers)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return Distribution(ordered[starts], np.add.reduceat(numbers, starts))


def from_values(values: NDArray[Any]) -> Distribution:
    """From finite pixel values of any type; sorts them all."""
    distinct, counts = np.unique(values, return_counts=True)
    return Distribution(distinct.astype(np.float64), counts.astype(np.float64))


def count_codes(codes: NDArray[Any]) -> NDArray[np.float64]:
    """How often each code of a uint8 or uint16 plane (rows, columns) occurs: (256,) or (65536,)."""
    levels = 256 if codes.dtype == np.uint8 else 65536
    counts = np.zeros(levels, np.float64)
    rows = max(1, _EXACT_COUNT // codes.shape[1])
    for first in range(0, codes.shape[0], rows):
        counts += cv2.calcHist([codes[first : first + rows]], [0], None, [levels], [0, levels]).ravel()
    return counts


def _at_rank(values: NDArray[np.float64], ends: NDArray[np.float64], percentile: float) -> float:
    rank = percentile / 100.0 * (ends[-1] - 1.0)
    whole = np.floor(rank)
    last = len(values) - 1
    lower = values[min(int(np.searchsorted(ends, whole, side="right")), last)]
    upper = values[min(int(np.searchsorted(ends, whole + 1.0, side="right")), last)]
    return float(lower + (upper - lower) * (rank - whole))
