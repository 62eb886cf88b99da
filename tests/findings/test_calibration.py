from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from irmsia.errors import InvalidRequestError
from irmsia.findings.calibration import (
    BIAS_WEIGHT,
    SLOPE_WEIGHT,
    apply_calibration,
    class_ratio,
    fit_calibration,
    negative_log_likelihood,
    sigmoid,
    softmax,
)
from irmsia.findings.rules import Calibration

NOTHING = Calibration(temperature=1, bias=(0.0, 0.0, 0.0))


def draw(seed: int, count: int, truth: Calibration, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets for which ``truth`` is the right calibration."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, len(truth.bias)))
    chances = apply_calibration(logits, truth, kind)
    if kind == "independent":
        return logits, (random.random(chances.shape) < chances).astype(int)
    return logits, (random.random((count, 1)) > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)


@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-1e300, 1e300)), st.floats(-1e3, 1e3))
def test_softmax_laws(logits: np.ndarray, shift: float) -> None:
    """Rows sum to 1, nothing overflows, and a common shift changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chances = softmax(logits)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert ((chances >= 0) & (chances <= 1)).all()
    small = np.clip(logits, -50, 50)
    np.testing.assert_allclose(softmax(small + shift), softmax(small), atol=1e-9)


@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e308, 1e308)))
def test_sigmoid_laws(logits: np.ndarray) -> None:
    """sigmoid(x) + sigmoid(-x) = 1 without overflow."""
    np.testing.assert_allclose(sigmoid(logits) + sigmoid(-logits), 1)


def test_applied_by_hand() -> None:
    """p = softmax(z / T + b), and the sigmoid of the same for independent groups."""
    calibration = Calibration(temperature=2, bias=(0.5, -0.5))
    scaled = np.array([1.0 / 2 + 0.5, 3.0 / 2 - 0.5])
    np.testing.assert_allclose(
        apply_calibration([1.0, 3.0], calibration, "exclusive"), np.exp(scaled) / np.exp(scaled).sum()
    )
    np.testing.assert_allclose(apply_calibration([1.0, 3.0], calibration, "independent"), 1 / (1 + np.exp(-scaled)))


@pytest.mark.parametrize("kind", ["exclusive", "independent"])
def test_the_true_calibration_is_found(kind: str) -> None:
    """From 20,000 samples temperature and biases come back within a few per cent."""
    truth = Calibration(temperature=2.5, bias=(0.6, -0.9, 0.3))
    found = fit_calibration(*draw(1, 20_000, truth, kind), kind)
    assert found.temperature == pytest.approx(truth.temperature, rel=0.04)
    np.testing.assert_allclose(found.bias, truth.bias, atol=0.07)


def test_biases_of_an_exclusive_group_sum_to_zero() -> None:
    """The bias is made unique: a common shift, which changes no probability, is left out."""
    found = fit_calibration(*draw(2, 300, Calibration(temperature=0.7, bias=(1, 2, 3)), "exclusive"))
    assert sum(found.bias) == pytest.approx(0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from(["exclusive", "independent"]))
def test_no_neighbour_is_better(seed: int, count: int, kind: str) -> None:
    """The fit is the minimum of the penalised loss: every small step away from it raises the loss."""
    logits, targets = draw(seed, count, NOTHING, kind)
    found = fit_calibration(logits, targets, kind)

    def loss(slope: float, bias: np.ndarray) -> float:
        moved = Calibration(temperature=1 / slope, bias=tuple(bias))
        penalty = SLOPE_WEIGHT * (slope - np.log(slope)) + BIAS_WEIGHT / 2 * float(bias @ bias)
        return negative_log_likelihood(logits, targets, moved, kind) * count + penalty

    slope, bias = 1 / found.temperature, np.asarray(found.bias)
    best = loss(slope, bias)
    for axis in range(4):
        for step in (-1e-3, 1e-3):
            trial = np.concatenate(([slope], bias))
            trial[axis] += step
            assert loss(trial[0], trial[1:]) >= best - 1e-9


def test_validation_loss_falls() -> None:
    """Over-confident logits become better, and the ranking of an exclusive group without bias stays."""
    logits, targets = draw(3, 2000, Calibration(temperature=4, bias=(0, 0, 0)), "exclusive")
    found = fit_calibration(logits, targets)
    assert negative_log_likelihood(logits, targets, found, "exclusive") < negative_log_likelihood(
        logits, targets, NOTHING, "exclusive"
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 1e4])
def test_separable_data_stay_finite(scale: float) -> None:
    """Perfectly separable validation data give a finite, positive temperature that still separates them."""
    targets = np.arange(60) % 3
    logits = np.where(np.arange(3) == targets[:, None], scale, 0.0)
    found = fit_calibration(logits, targets)
    assert 0 < found.temperature < np.inf
    chances = apply_calibration(logits, found, "exclusive")
    assert (chances.argmax(axis=1) == targets).all()
    assert chances[np.arange(60), targets].min() > 0.9 if scale >= 1 else True


@pytest.mark.parametrize("kind", ["exclusive", "independent"])
def test_a_single_class_and_a_single_sample_stay_finite(kind: str) -> None:
    """One class, or one image, pulls towards itself without running away."""
    for count in (1, 50):
        targets: Any = np.zeros(count, dtype=int) if kind == "exclusive" else np.tile([1, 0, 0], (count, 1))
        found = fit_calibration(np.zeros((count, 3)), targets, kind)
        chances = apply_calibration(np.zeros(3), found, kind)
        assert np.isfinite(found.bias).all()
        assert chances[0] > 0.5 > chances[1] or (kind == "exclusive" and count == 1 and chances[0] > chances[1])


def test_class_ratio() -> None:
    """The prior is the share of images that carry each term."""
    assert class_ratio([0, 0, 1, 2], "exclusive", 3) == (0.5, 0.25, 0.25)
    assert class_ratio([[1, 1], [0, 1]], "independent", 2) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("logits", "targets", "kind"),
    [
        (np.full((2, 3), np.nan), [0, 1], "exclusive"),
        (np.array([[0.0, np.inf, 0.0]]), [0], "exclusive"),
        (np.zeros((0, 3)), [], "exclusive"),
        (np.zeros(3), [0], "exclusive"),
        (np.zeros((2, 3)), [0, 3], "exclusive"),
        (np.zeros((2, 3)), [0, -1], "exclusive"),
        (np.zeros((2, 3)), [0.0, 1.0], "exclusive"),
        (np.zeros((2, 3)), [0], "exclusive"),
        (np.zeros((2, 3)), [[0, 2, 0], [0, 0, 0]], "independent"),
        (np.zeros((2, 3)), [0, 1], "independent"),
    ],
)
def test_bad_input_is_a_typed_error(logits: np.ndarray, targets: Any, kind: Any) -> None:
    """NaN, infinities, empty or misshaped arrays and foreign targets raise `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError):
        fit_calibration(logits, targets, kind)
