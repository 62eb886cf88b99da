"""Metrics of a score's order: AUROC, average precision, risk over coverage; curves; the interval of an AUROC.

Images of equal score form one block, so that no metric depends on the order in which ties happen to stand. Weights
(b, n) are those of `irmsia.evaluation.resampling`; a weight of 2 is the image twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irmsia.evaluation.estimate import EXACT, Estimate, exact_bounds, undefined
from irmsia.evaluation.resampling import Mask, ratio
from irmsia.findings.arrays import Array

_NORMAL_QUANTILE = 1.959964
ONE_CLASS = "the class, or all others, has no image"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Images by descending score: ``order`` (n,) and where each block of equal scores starts."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    scores: Array

    @classmethod
    def of(cls, score: Array) -> Blocks:
        """Of ``score`` (n,), n >= 1."""
        order = np.argsort(-score, kind="stable")
        ordered = score[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        return cls(order=order, starts=starts, scores=ordered[starts])

    def sums(self, values: Array) -> Array:
        """(..., U) sums of ``values`` (..., n) over each block, highest score first."""
        return np.asarray(np.add.reduceat(values[..., self.order], self.starts, axis=-1))


def weighted_auroc(blocks: Blocks, positive: Mask, weights: Array) -> Array:
    """(b,) share of (positive, negative) pairs in the right order, ties half; NaN where a class has no weight."""
    yes, no = blocks.sums(weights * positive), blocks.sums(weights * ~positive)
    above = np.cumsum(yes, axis=-1) - yes / 2
    return ratio((no * above).sum(axis=-1), yes.sum(axis=-1) * no.sum(axis=-1))


def weighted_average_precision(blocks: Blocks, positive: Mask, weights: Array) -> Array:
    """(b,) mean over the positives of the precision at their score; NaN without a positive.

    The area under the precision-recall curve as a step function. (Davis and Goadrich, ICML 2006.)
    """
    yes, every = blocks.sums(weights * positive), blocks.sums(weights)
    precision = np.nan_to_num(ratio(np.cumsum(yes, axis=-1), np.cumsum(every, axis=-1)))
    return ratio((yes * precision).sum(axis=-1), yes.sum(axis=-1))


def weighted_aurc(blocks: Blocks, wrong: Mask, weights: Array) -> Array:
    """(b,) area under the risk-coverage curve, 0..1, small is good.

    The mean over the images of the share that is ``wrong`` among the images at least as confident as that one.
    (Geifman, Uziel and El-Yaniv, ICLR 2019.)
    """
    every = blocks.sums(weights)
    risk = np.nan_to_num(ratio(np.cumsum(blocks.sums(weights * wrong), axis=-1), np.cumsum(every, axis=-1)))
    return ratio((every * risk).sum(axis=-1), every.sum(axis=-1))


def roc_curve(positive: Mask, score: Array) -> Array:
    """(U + 1, 2) false positive rate and sensitivity, from (0, 0) to (1, 1). Both classes must be there."""
    blocks, weights = Blocks.of(score), np.ones(len(score))
    yes, no = blocks.sums(weights * positive), blocks.sums(weights * ~positive)
    points = np.stack([np.cumsum(no) / no.sum(), np.cumsum(yes) / yes.sum()], axis=1)
    return np.concatenate(([[0.0, 0.0]], points))


def precision_recall_curve(positive: Mask, score: Array) -> Array:
    """(U, 2) recall and precision at every score, highest first. A positive must be there."""
    blocks, weights = Blocks.of(score), np.ones(len(score))
    yes, every = np.cumsum(blocks.sums(weights * positive)), np.cumsum(blocks.sums(weights))
    return np.stack([yes / yes[-1], yes / every], axis=1)


def risk_coverage_curve(wrong: Mask, confidence: Array) -> Array:
    """(U, 2) coverage and the share ``wrong`` among what is covered, most confident first."""
    blocks, weights = Blocks.of(confidence), np.ones(len(confidence))
    covered = np.cumsum(blocks.sums(weights))
    return np.stack([covered / covered[-1], np.cumsum(blocks.sums(weights * wrong)) / covered], axis=1)


def auroc_estimate(positive: Mask, score: Array, groups: Sequence[str]) -> Estimate:
    """AUROC with its 95 % interval on the logit scale.

    The variance for clustered data of Obuchowski (Biometrics 53, 1997), which is DeLong's (Biometrics 44, 1988) where
    every group gives one image. A perfect order gets the exact bound of the rarer class's groups.

    Args:
        positive: (n,) truth.
        score: (n,) finite, higher for positives.
        groups: (n,) patient or cluster.
    """
    positive, score = np.asarray(positive, dtype=bool), np.asarray(score, dtype=np.float64)
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n, count = len(score), len(names)
    if not positive.any() or positive.all():
        return undefined(ONE_CLASS, n=n, groups=count)
    area = float(weighted_auroc(Blocks.of(score), positive, np.ones((1, n)))[0])
    method = "DeLong" if count == n else "Obuchowski"
    if area in (0.0, 1.0):
        rarer = min(len(np.unique(group[positive])), len(np.unique(group[~positive])))
        low, high = exact_bounds(area, rarer)
        return Estimate(value=area, low=low, high=high, n=n, groups=count, method=EXACT)
    error = np.sqrt(_auroc_variance(positive, score, group, area))
    if not np.isfinite(error):
        reason = "a class comes from one group alone"
        return Estimate(value=area, low=None, high=None, n=n, groups=count, method=method, reason=reason)
    middle, reach = np.log(area / (1 - area)), _NORMAL_QUANTILE * error / (area * (1 - area))
    low, high = (float(1 / (1 + np.exp(-np.clip(middle + side * reach, -700, 700)))) for side in (-1, 1))
    return Estimate(value=area, low=low, high=high, n=n, groups=count, method=method)


def _auroc_variance(positive: Mask, score: Array, group: NDArray[np.intp], area: float) -> float:
    """Obuchowski's estimator; NaN where a class comes from fewer than two groups."""
    placements = _placements(positive, score) - area
    count = int(group.max()) + 1
    sums = [np.bincount(group[side], weights=placements[side], minlength=count) for side in (positive, ~positive)]
    clusters = [len(np.unique(group[side])) for side in (positive, ~positive)]
    images = [int(side.sum()) for side in (positive, ~positive)]
    if min(clusters) < 2:
        return float("nan")
    own = sum(
        (total**2).sum() * held / (held - 1) / size**2 for total, held, size in zip(sums, clusters, images, strict=True)
    )
    shared = 2 * (sums[0] * sums[1]).sum() * count / (count - 1) / (images[0] * images[1])
    return max(float(own + shared), 0.0)


def _placements(positive: Mask, score: Array) -> Array:
    """(n,) of each image the share of the other class that it stands in the right order to, ties half."""
    placed = np.empty(len(score))
    for side, sign in ((positive, 1.0), (~positive, -1.0)):
        others = np.sort(sign * score[~side])
        own = sign * score[side]
        below = np.searchsorted(others, own, side="left") + np.searchsorted(others, own, side="right")
        placed[side] = below / (2 * len(others))
    return placed
