"""How far probabilities can be believed: Brier score, log loss, slope and intercept, ECE beside its noise floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irmsia.evaluation.estimate import TAIL, Estimate
from irmsia.evaluation.resampling import Mask, Resampling, ratio
from irmsia.findings.arrays import Array
from irmsia.findings.calibration import sigmoid

BINS = 10
SMALLEST = 1e-15
"""Probabilities are raised to it in the log loss."""

_FARTHEST = 1e-9
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""
_SIMULATIONS = 1000
_STEPS = 60
_CONVERGED = 1e-9
_BUDGET = 20_000_000


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram.

    Attributes:
        low, high: its probabilities, ``low`` < p <= ``high``.
        n: images.
        predicted: their mean probability.
        observed: their share of events.
        band: 95 % of what a perfectly calibrated model shows with as many images.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    band: tuple[float, float]


def brier_scores(probabilities: Array, truth: NDArray[np.int64]) -> Array:
    """(n,) squared distance of ``probabilities`` (n, K) from the truth, summed over the terms: 0..2. (Brier, 1950.)"""
    wanted = np.eye(probabilities.shape[1])[truth]
    return np.asarray(((probabilities - wanted) ** 2).sum(axis=1))


def log_losses(probabilities: Array, truth: NDArray[np.int64]) -> Array:
    """(n,) minus the natural logarithm of the true term's probability."""
    own = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.clip(own, SMALLEST, 1.0)))


def calibration_error(resampling: Resampling, probability: Array, event: Mask) -> Array:
    """(draws + 1,) expected calibration error over ten bins of equal width. (Naeini et al., AAAI 2015.)"""
    bins = _one_hot(probability)
    gaps = resampling.sums(bins * (probability - event)[:, None])
    total = resampling.sums(np.ones(len(probability)))[:, 0]
    return np.asarray(np.abs(gaps).sum(axis=1) / total)


def noise_floor(resampling: Resampling, probability: Array, *, seed: int = 0) -> Estimate:
    """The ECE that a perfectly calibrated model shows on as many images: median and central 95 % of a simulation.

    Events are drawn from the probabilities themselves, each image for itself; images of one group resemble each
    other, so the true floor is rather higher.
    """
    gaps = _simulated(probability, seed) @ _one_hot(probability)
    errors = np.abs(gaps).sum(axis=1) / len(probability)
    low, middle, high = np.quantile(errors, [TAIL, 0.5, 1 - TAIL])
    return Estimate(
        value=float(middle),
        low=float(low),
        high=float(high),
        n=resampling.n,
        groups=resampling.groups,
        method="parametric simulation",
    )


def reliability_bins(probability: Array, event: Mask, *, seed: int = 0) -> tuple[Bin, ...]:
    """The bins that hold an image, with the band of a perfectly calibrated model."""
    bins = _one_hot(probability)
    n, predicted = bins.sum(axis=0), bins.T @ probability
    observed = bins.T @ event
    events = np.rint(predicted - _simulated(probability, seed) @ bins)  # whole numbers but for rounding
    edges = np.linspace(0, 1, BINS + 1)
    found = []
    for index in np.flatnonzero(n):
        low, high = np.quantile(events[:, index], [TAIL, 1 - TAIL]) / n[index]
        found.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                n=int(n[index]),
                predicted=float(predicted[index] / n[index]),
                observed=float(observed[index] / n[index]),
                band=(float(low), float(high)),
            )
        )
    return tuple(found)


def calibration_slopes(resampling: Resampling, probability: Array, event: Mask) -> Array:
    """(draws + 1,) slope of the events' logit on the probability's: 1 when calibrated, below 1 when over-confident.

    Infinite where the probabilities separate the classes. (Cox, Biometrika 45, 1958.)
    """
    return resampling.over_images(lambda weights: _slopes(_logit(probability), event, weights))


def calibration_intercepts(resampling: Resampling, probability: Array, event: Mask) -> Array:
    """(draws + 1,) intercept at slope 1: 0 when calibrated, negative when the mean probability is too high.

    ("Calibration in the large": Van Calster et al., BMC Medicine 17, 2019.)
    """
    return resampling.over_images(lambda weights: _intercepts(_logit(probability), event, weights))


def _simulated(probability: Array, seed: int) -> Array:
    """(S, n) of p - event, events drawn from p."""
    times = int(np.clip(_BUDGET // max(len(probability), 1), 100, _SIMULATIONS))
    drawn = np.random.default_rng(seed).random((times, len(probability))) < probability
    return np.asarray(probability - drawn)


def _one_hot(probability: Array) -> Array:
    """(n, bins) which bin each probability falls into; bins hold their upper edge."""
    index = np.clip(np.ceil(probability * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return np.eye(BINS)[index]


def _logit(probability: Array) -> Array:
    inside = np.clip(probability, _FARTHEST, 1 - _FARTHEST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _slopes(logit: Array, event: Mask, weights: Array) -> Array:
    """Newton's method for all rows of weights (b, n) at once, each step at most 1 long."""
    separated = _separation(logit, event, weights)
    intercept, slope = np.zeros(len(weights)), np.ones(len(weights))
    for _ in range(_STEPS):
        p = sigmoid(intercept[:, None] + slope[:, None] * logit)
        miss, spread = weights * (event - p), weights * p * (1 - p)
        gradient = miss.sum(axis=1), miss @ logit
        h00, h01, h11 = spread.sum(axis=1), spread @ logit, spread @ logit**2
        determinant = h00 * h11 - h01**2
        step0 = ratio(h11 * gradient[0] - h01 * gradient[1], determinant)
        step1 = ratio(h00 * gradient[1] - h01 * gradient[0], determinant)
        shorten = 1 / np.maximum(1.0, np.maximum(np.abs(step0), np.abs(step1)))
        intercept, slope = intercept + shorten * step0, slope + shorten * step1
        if np.nanmax(np.where(separated == 0, np.abs(step1), 0.0), initial=0.0) < _CONVERGED:
            break
    return np.where(separated == 0, slope, separated)


def _separation(logit: Array, event: Mask, weights: Array) -> Array:
    """(b,) +inf or -inf where a threshold parts the classes, NaN where one has no weight, else 0."""
    seen = weights > 0
    lowest = [np.where(seen & side, logit, np.inf).min(axis=1) for side in (event, ~event)]
    highest = [np.where(seen & side, logit, -np.inf).max(axis=1) for side in (event, ~event)]
    missing = np.isinf(lowest[0]) | np.isinf(lowest[1])
    parted = np.where(highest[1] <= lowest[0], np.inf, np.where(highest[0] <= lowest[1], -np.inf, 0.0))
    return np.where(missing, np.nan, parted)


def _intercepts(logit: Array, event: Mask, weights: Array) -> Array:
    wanted, total = weights @ event, weights.sum(axis=1)
    defined = (wanted > 0) & (wanted < total)
    intercept = np.zeros(len(weights))
    for _ in range(_STEPS):
        p = sigmoid(intercept[:, None] + logit)
        step = ratio(wanted - (weights * p).sum(axis=1), (weights * p * (1 - p)).sum(axis=1))
        step = np.clip(np.where(defined, step, 0.0), -1, 1)
        intercept += step
        if np.abs(step).max(initial=0.0) < _CONVERGED:
            break
    return np.where(defined, intercept, np.nan)
