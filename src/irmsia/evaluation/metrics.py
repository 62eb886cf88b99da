"""Metrics of a classifier from arrays of truth and prediction. Undefined values are NaN, never 0."""

import numpy as np
from numpy.typing import NDArray


def auroc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, 0..1: the share of (positive, negative) pairs in the right order, ties half.

    NaN where one class is missing. (Hanley and McNeil, Radiology 143, 1982.)

    Args:
        positive: (n,) truth.
        score: (n,) any monotone score of the positive class.
    """
    yes, no = score[positive], np.sort(score[~positive])
    if len(yes) == 0 or len(no) == 0:
        return float("nan")
    below = np.searchsorted(no, yes, side="left")
    below_or_tied = np.searchsorted(no, yes, side="right")
    return float((below + below_or_tied).mean() / (2 * len(no)))


def accuracy(truth: NDArray[np.str_], said: NDArray[np.str_]) -> float:
    """Return the share of equal labels; NaN for none."""
    return share(truth == said)


def balanced_accuracy(truth: NDArray[np.str_], said: NDArray[np.str_]) -> float:
    """Return the mean over the true classes of the share found (macro recall); NaN for none."""
    if len(truth) == 0:
        return float("nan")
    return float(np.mean([recall(truth, said, term) for term in np.unique(truth)]))


def recall(truth: NDArray[np.str_], said: NDArray[np.str_], term: str) -> float:
    """Return the sensitivity of one class, 0..1; NaN where the class is missing."""
    return share(said[truth == term] == term)


def share(holds: NDArray[np.bool_]) -> float:
    """Return the share that holds, 0..1; NaN for none."""
    return float(holds.mean()) if len(holds) else float("nan")
