"""Calibration: one temperature a group and one bias a term, p = softmax(z / T + b) or sigmoid(z / T + b).

Fitted on the validation part at its own class ratio, which the manifest keeps as ``prior``: the probabilities hold at
that ratio only. Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; the bias a
class makes it the smallest part of their vector scaling that can also move a class's share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.findings.arrays import Array, Kind, to_matrix, to_truth
from irmsia.findings.rules import Calibration

# A weak prior keeps perfectly separable data, single classes and single samples finite and is lost among a few dozen
# real ones. On a = 1/T: SLOPE_WEIGHT * (a - log a), a gamma density with its mode at 1; on b: a normal density of
# spread 3.
SLOPE_WEIGHT = 1.0
BIAS_WEIGHT = 1 / 9
MAX_STEPS = 200
TOLERANCE = 1e-12


def softmax(values: ArrayLike) -> Array:
    """Softmax over the last axis, (..., K) to (..., K); the largest is subtracted first, so that nothing overflows."""
    given = np.asarray(values, dtype=np.float64)
    powers = np.exp(given - given.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(values: ArrayLike) -> Array:
    """1 / (1 + exp(-x)) without overflow, any shape."""
    given = np.asarray(values, dtype=np.float64)
    powers = np.exp(-np.abs(given))
    return np.asarray(np.where(given >= 0, 1.0, powers) / (1.0 + powers))


def apply_calibration(logits: ArrayLike, calibration: Calibration, kind: Kind) -> Array:
    """Calibrated probabilities 0..1 of ``logits`` (..., K)."""
    scaled = np.asarray(logits, dtype=np.float64) / calibration.temperature + np.asarray(calibration.bias)
    return softmax(scaled) if kind == "exclusive" else sigmoid(scaled)


def class_ratio(targets: ArrayLike, kind: Kind, count: int) -> tuple[float, ...]:
    """Share of the images that carry each of ``count`` terms: the prior at which the calibration holds."""
    rows = len(np.asarray(targets))
    truth = to_truth(targets, kind, (rows, count))
    return tuple(float(share) for share in truth.mean(axis=0))


def negative_log_likelihood(logits: ArrayLike, targets: ArrayLike, calibration: Calibration, kind: Kind) -> float:
    """Mean negative log-likelihood of ``targets``, natural logarithm; for independent groups summed over the terms."""
    matrix = to_matrix(logits, "logits", columns=len(calibration.bias))
    truth = to_truth(targets, kind, (matrix.shape[0], matrix.shape[1]))
    return _loss(matrix / calibration.temperature + np.asarray(calibration.bias), truth, kind) / len(matrix)


def _loss(scaled: Array, truth: NDArray[np.bool_], kind: Kind) -> float:
    if kind == "independent":
        return float(np.logaddexp(0.0, np.where(truth, -scaled, scaled)).sum())
    largest = scaled.max(axis=1, keepdims=True)
    totals = np.log(np.exp(scaled - largest).sum(axis=1)) + largest[:, 0]
    return float((totals - scaled[truth]).sum())


def fit_calibration(logits: ArrayLike, targets: ArrayLike, kind: Kind = "exclusive") -> Calibration:
    """The most probable temperature and biases given validation ``logits`` (N, K) and ``targets``.

    Newton's method on (a = 1/T, b), in which the penalised loss is strictly convex, with a step that is halved until
    the loss falls. The biases of an exclusive group sum to 0. Raises `InvalidRequestError` for empty, non-finite or
    misshaped input.
    """
    matrix = to_matrix(logits, "logits")
    truth = to_truth(targets, kind, (matrix.shape[0], matrix.shape[1]))
    point = _minimise(_Problem(matrix, truth, kind))
    bias = point[1:] - point[1:].mean() if kind == "exclusive" else point[1:]
    return Calibration(temperature=float(1 / point[0]), bias=tuple(float(value) for value in bias))


@dataclass(frozen=True, slots=True)
class _Problem:
    """The penalised loss as a function of the point (a, b_1 ... b_K)."""

    logits: Array
    truth: NDArray[np.bool_]
    kind: Kind

    def loss(self, point: Array) -> float:
        slope, bias = float(point[0]), point[1:]
        penalty = SLOPE_WEIGHT * (slope - math.log(slope)) + BIAS_WEIGHT / 2 * float(bias @ bias)
        return _loss(slope * self.logits + bias, self.truth, self.kind) + penalty

    def derivatives(self, point: Array) -> tuple[Array, Array]:
        """Gradient (K + 1,) and Hessian (K + 1, K + 1)."""
        slope, bias = point[0], point[1:]
        scaled = slope * self.logits + bias
        p = softmax(scaled) if self.kind == "exclusive" else sigmoid(scaled)
        gradient = np.empty(len(point))
        gradient[0] = ((p - self.truth) * self.logits).sum() + SLOPE_WEIGHT * (1 - 1 / slope)
        gradient[1:] = (p - self.truth).sum(axis=0) + BIAS_WEIGHT * bias
        hessian = self._curvature(p)
        hessian[0, 0] += SLOPE_WEIGHT / slope**2
        hessian[1:, 1:] += BIAS_WEIGHT * np.eye(len(bias))
        return gradient, hessian

    def _curvature(self, p: Array) -> Array:
        """Second derivatives of the likelihood: about the mean under p (exclusive), or each term alone."""
        exclusive = self.kind == "exclusive"
        weight = p if exclusive else p * (1 - p)
        centred = self.logits - (p * self.logits).sum(axis=1, keepdims=True) if exclusive else self.logits
        hessian = np.zeros((p.shape[1] + 1, p.shape[1] + 1))
        hessian[0, 0] = (weight * centred * centred).sum()
        hessian[0, 1:] = hessian[1:, 0] = (weight * centred).sum(axis=0)
        hessian[1:, 1:] = np.diag(weight.sum(axis=0)) - (p.T @ p if exclusive else 0.0)
        return hessian


def _minimise(problem: _Problem) -> Array:
    point = np.concatenate(([1.0], np.zeros(problem.logits.shape[1])))
    loss = problem.loss(point)
    for _ in range(MAX_STEPS):
        gradient, hessian = problem.derivatives(point)
        step = np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
        decrement = float(gradient @ step)
        if decrement < TOLERANCE * max(1.0, abs(loss)):
            break
        shorter = _search(problem, point, step, least=loss - 1e-4 * decrement, loss=loss)
        if shorter is None:
            break
        point, loss = shorter, problem.loss(shorter)
    return point


def _search(problem: _Problem, point: Array, step: Array, *, least: float, loss: float) -> Array | None:
    """The first of 1, 1/2, 1/4 ... of the step that keeps a > 0 and lowers the loss enough (Armijo), else null."""
    for halvings in range(60):
        share = 0.5**halvings
        trial = point - share * step
        if trial[0] > 0 and problem.loss(trial) <= loss - share * (loss - least):
            return trial
    return None
