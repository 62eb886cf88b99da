"""Two thresholds and the operating point between them (contract section 2), fixed on validation data.

A score at or above a threshold is called positive. ``low`` is the largest threshold with sensitivity >= 97.5 %,
``high`` the smallest with specificity >= 97.5 %. Below ``low`` hardly any disease is left, above ``high`` hardly any
health, and what lies between is referred.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.errors import InvalidRequestError
from irmsia.findings.arrays import Array, Kind, to_matrix, to_truth, to_vector
from irmsia.findings.ranks import ceil_share
from irmsia.findings.rules import OperatingPoint
from irmsia.findings.vocabulary import NORMAL

SENSITIVITY = 0.975
SPECIFICITY = 0.975


def abnormal_probability(probabilities: ArrayLike, terms: Sequence[str], kind: Kind) -> Array:
    """p(abnormal) of ``probabilities`` (..., K): 1 - p(normal), or 1 - product of (1 - p) for an independent group."""
    given = np.asarray(probabilities, dtype=np.float64)
    if kind == "exclusive":
        return np.asarray(1.0 - given[..., list(terms).index(NORMAL)])
    return np.asarray(1.0 - np.prod(1.0 - given, axis=-1))


def fit_operating_points(
    probabilities: ArrayLike, targets: ArrayLike, terms: Sequence[str], kind: Kind = "exclusive"
) -> tuple[OperatingPoint, ...]:
    """One point on p(abnormal) for an exclusive group, one a term for an independent group, of validation (N, K)."""
    matrix = to_matrix(probabilities, "probabilities", columns=len(terms))
    truth = to_truth(targets, kind, (matrix.shape[0], matrix.shape[1]))
    if kind == "exclusive":
        positives = ~truth[:, list(terms).index(NORMAL)]
        return (fit_operating_point(abnormal_probability(matrix, terms, kind), positives),)
    return tuple(fit_operating_point(matrix[:, k], truth[:, k]) for k in range(len(terms)))


def fit_operating_point(
    scores: ArrayLike, positives: ArrayLike, *, sensitivity: float = SENSITIVITY, specificity: float = SPECIFICITY
) -> OperatingPoint:
    """Thresholds on ``scores`` (N,), 0..1, given which are ``positives`` (N,).

    ``high`` is the next double above a negative's score, since that negative must fall below it; 1 where that would
    exceed 1 (then no threshold reaches the specificity). Raises `InvalidRequestError` without at least one positive and
    one negative.
    """
    values = to_vector(scores, "scores")
    truth = np.asarray(positives, dtype=bool)
    if truth.shape != values.shape or truth.all() or not truth.any():
        raise InvalidRequestError(
            f"an operating point needs positives and negatives, got {int(truth.sum())} positive of {len(values)}"
        )
    if values.min() < 0 or values.max() > 1:
        raise InvalidRequestError(f"scores must lie within 0..1, got {values.min()}..{values.max()}")
    low = _low(np.sort(values[truth]), sensitivity)
    high = _high(np.sort(values[~truth]), specificity)
    if low >= high:
        return OperatingPoint(low=low, high=high, point=(low + high) / 2, separable=True)
    return OperatingPoint(low=low, high=high, point=_youden(values, truth, low, high), separable=False)


def _low(positives: Array, sensitivity: float) -> float:
    """The score of the last positive that must still be called."""
    return float(positives[len(positives) - ceil_share(len(positives), sensitivity)])


def _high(negatives: Array, specificity: float) -> float:
    highest = negatives[ceil_share(len(negatives), specificity) - 1]
    return float(min(1.0, np.nextafter(highest, 2.0)))


def _youden(values: Array, truth: NDArray[np.bool_], low: float, high: float) -> float:
    """The threshold of greatest sensitivity + specificity - 1 within [low, high].

    The index is constant between two neighbouring scores; the middle of the best stretch is taken, and of equal
    stretches the lowest, which misses less.
    """
    inside = values[(values > low) & (values < high)]
    edges = np.unique(np.concatenate(([low, high], inside)))
    positives, negatives = np.sort(values[truth]), np.sort(values[~truth])
    called = len(positives) - np.searchsorted(positives, edges, side="left")
    passed = np.searchsorted(negatives, edges, side="left")
    index = called / len(positives) + passed / len(negatives)
    best = int(np.argmax(index >= index.max() - 1e-12))
    if best == 0:
        return low
    lower, upper = list(pairwise(edges))[best - 1]
    middle = (lower + upper) / 2
    return float(middle if lower < middle else upper)
