"""Metrics of a confusion matrix, for one matrix or many at once.

A matrix (..., K, K) counts images, rows by truth and columns by what was said; counts may be weights. Everything is
NaN where it is not defined, never 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from irmsia.evaluation.resampling import ratio
from irmsia.findings.arrays import Array


def confusion(truth: NDArray[np.int64], said: NDArray[np.int64], terms: int) -> NDArray[np.int64]:
    """(K, K) counts of ``truth`` (n,) against ``said`` (n,)."""
    return np.bincount(truth * terms + said, minlength=terms * terms).reshape(terms, terms)


def accuracy(matrix: Array) -> Array:
    """Share on the diagonal."""
    return ratio(_diagonal(matrix).sum(axis=-1), _total(matrix))


def sensitivity(matrix: Array) -> Array:
    """(..., K) of each class, the share found: recall."""
    return ratio(_diagonal(matrix), matrix.sum(axis=-1))


def specificity(matrix: Array) -> Array:
    """(..., K) of each class, the share of the others that were not called it."""
    others = _total(matrix)[..., None] - matrix.sum(axis=-1)
    return ratio(others - _false_positives(matrix), others)


def positive_predictive_value(matrix: Array) -> Array:
    """(..., K) of each class, the share of what was called it that is it: precision. Holds at this prevalence only."""
    return ratio(_diagonal(matrix), matrix.sum(axis=-2))


def negative_predictive_value(matrix: Array) -> Array:
    """(..., K) of each class, the share of what was not called it that is not it. Holds at this prevalence only."""
    passed = _total(matrix)[..., None] - matrix.sum(axis=-2)
    missed = matrix.sum(axis=-1) - _diagonal(matrix)
    return ratio(passed - missed, passed)


def f1(matrix: Array) -> Array:
    """(..., K) harmonic mean of sensitivity and positive predictive value; NaN where no image is or is called it."""
    return ratio(2 * _diagonal(matrix), matrix.sum(axis=-1) + matrix.sum(axis=-2))


def balanced_accuracy(matrix: Array) -> Array:
    """Mean sensitivity of the classes; NaN where one is missing."""
    return np.asarray(sensitivity(matrix).mean(axis=-1))


def macro_f1(matrix: Array) -> Array:
    """Mean F1 of the classes; NaN where one is missing."""
    return np.asarray(np.where(_has_all(matrix), f1(matrix).mean(axis=-1), np.nan))


def weighted_f1(matrix: Array) -> Array:
    """Mean F1 of the classes, weighted by their images."""
    weights = matrix.sum(axis=-1)
    return ratio((np.nan_to_num(f1(matrix)) * weights).sum(axis=-1), weights.sum(axis=-1))


def kappa(matrix: Array) -> Array:
    """Agreement beyond chance, -1..1, unweighted; NaN where chance agrees always.

    (Cohen, Educ. Psychol. Meas. 20, 1960.)
    """
    total = _total(matrix)
    chance = (matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1)
    return ratio(_diagonal(matrix).sum(axis=-1) * total - chance, total**2 - chance)


def matthews(matrix: Array) -> Array:
    """Correlation of truth and what was said, -1..1, of any number of classes; NaN where one of them never varies.

    (Gorodkin, Comput. Biol. Chem. 28, 2004.)
    """
    total, true, said = _total(matrix), matrix.sum(axis=-1), matrix.sum(axis=-2)
    together = _diagonal(matrix).sum(axis=-1) * total - (true * said).sum(axis=-1)
    spread = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (said**2).sum(axis=-1))
    return ratio(together, np.sqrt(spread))


def _diagonal(matrix: Array) -> Array:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _total(matrix: Array) -> Array:
    return np.asarray(matrix.sum(axis=(-2, -1)))


def _false_positives(matrix: Array) -> Array:
    return np.asarray(matrix.sum(axis=-2) - _diagonal(matrix))


def _has_all(matrix: Array) -> NDArray[np.bool_]:
    return np.asarray((matrix.sum(axis=-1) > 0).all(axis=-1))
