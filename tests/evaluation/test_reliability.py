"""Scores and calibration against scikit-learn, the definition written out, and models known to be calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from irmsia.evaluation import reliability
from irmsia.evaluation.resampling import Resampling
from irmsia.findings.calibration import sigmoid

probabilities = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50)


def _alone(count: int) -> Resampling:
    return Resampling([str(number) for number in range(count)], draws=20)


def _calibrated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed)
    p = sigmoid(1.5 * noise.normal(size=count))
    return p, noise.random(count) < p


def test_brier_score_and_log_loss_are_scikit_learn_s() -> None:
    """Of three terms, one of them certain and wrong."""
    noise = np.random.default_rng(1)
    p = noise.dirichlet([1, 1, 1], size=40)
    p[0], truth = [0.0, 1.0, 0.0], noise.integers(0, 3, 40)
    truth[:3] = 0, 1, 2
    assert reliability.brier_scores(p, truth).mean() == pytest.approx(reference.brier_score_loss(truth, p))
    assert reliability.log_losses(p, truth)[1:].mean() == pytest.approx(reference.log_loss(truth[1:], p[1:]))
    assert reliability.log_losses(p, truth)[0] == pytest.approx(-np.log(reliability.SMALLEST))


@given(probabilities)
def test_the_calibration_error_counted_bin_by_bin(rows: list[tuple[float, bool]]) -> None:
    """Ten bins that hold their upper edge; 0 belongs to the first."""
    p, event = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = reliability.calibration_error(_alone(len(rows)), p, event)[0]
    wanted = 0.0
    for edge in range(10):
        inside = ((p * 10 > edge) & (p * 10 <= edge + 1)) | ((p == 0) & (edge == 0))
        if inside.any():
            wanted += inside.mean() * abs(p[inside].mean() - event[inside].mean())
    assert found == pytest.approx(wanted)


@given(probabilities)
def test_a_reliability_diagram_holds_every_image(rows: list[tuple[float, bool]]) -> None:
    """Its bins sum to the images, its gaps to the calibration error."""
    p, event = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    bars = reliability.reliability_bins(p, event)
    assert sum(bar.n for bar in bars) == len(rows)
    error = sum(bar.n * abs(bar.predicted - bar.observed) for bar in bars) / len(rows)
    assert error == pytest.approx(reliability.calibration_error(_alone(len(rows)), p, event)[0])
    assert all(0 <= bar.band[0] <= bar.band[1] <= 1 and 0 <= bar.observed <= 1 for bar in bars)
    assert all(bar.low - 1e-9 <= bar.predicted <= bar.high + 1e-9 for bar in bars)


def test_the_floor_of_156_cases_is_known() -> None:
    """A perfectly calibrated model on 156 cases shows an ECE of about .09: no evidence against it."""
    p = np.linspace(0.003, 0.997, 156)
    floor = reliability.noise_floor(_alone(156), p)
    assert floor.value == pytest.approx(0.09, abs=0.015)
    assert floor.low is not None
    assert floor.high is not None
    assert 0.03 < floor.low < 0.09 < floor.high < 0.16


def test_the_floor_holds_calibrated_models_as_often_as_it_says() -> None:
    """Of 200 calibrated models about 95 % lie in their band, and hardly one that is over-confident."""
    inside, sharp = 0, 0
    for seed in range(200):
        p, event = _calibrated(200, seed)
        over = sigmoid(2.5 * np.log(p / (1 - p)))
        for score, counted in ((p, "inside"), (over, "sharp")):
            error = reliability.calibration_error(_alone(200), score, event)[0]
            floor = reliability.noise_floor(_alone(200), score, seed=seed + 1000)
            assert floor.low is not None
            assert floor.high is not None
            held = floor.low <= error <= floor.high
            inside += held and counted == "inside"
            sharp += held and counted == "sharp"
    assert 0.90 <= inside / 200 <= 0.99
    assert sharp / 200 < 0.1


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(-1, 1))
def test_the_slope_is_that_of_a_logistic_regression(seed: int, slope: float, shift: float) -> None:
    """Scikit-learn's without a penalty, with weights; the intercept solves its own equation."""
    p, event = _calibrated(80, seed)
    logit = np.log(p / (1 - p))
    given_p = sigmoid(logit / slope + shift)
    weights = np.random.default_rng(seed).integers(0, 3, (2, 80)).astype(float)
    slopes = reliability._slopes(np.log(given_p / (1 - given_p)), event, weights)
    for row in range(2):
        features = np.log(given_p / (1 - given_p))[:, None]
        fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000).fit(features, event, sample_weight=weights[row])
        assert slopes[row] == pytest.approx(fitted.coef_[0, 0], rel=1e-3)
    intercepts = reliability._intercepts(np.log(given_p / (1 - given_p)), event, weights)
    for row in range(2):
        moved = sigmoid(np.log(given_p / (1 - given_p)) + intercepts[row])
        assert weights[row] @ moved == pytest.approx(weights[row] @ event)


def test_slope_and_intercept_find_what_was_done_to_the_probabilities() -> None:
    """Logits doubled: slope .5. Logits moved by 1: intercept -1. Left alone: 1 and 0."""
    p, event = _calibrated(40_000, 3)
    logit, alone = np.log(p / (1 - p)), Resampling([str(number) for number in range(40_000)], draws=1)
    for given_p, slope in ((p, 1.0), (sigmoid(2 * logit), 0.5)):
        assert reliability.calibration_slopes(alone, given_p, event)[0] == pytest.approx(slope, abs=0.04)
    for given_p, intercept in ((p, 0.0), (sigmoid(logit + 1), -1.0)):
        assert reliability.calibration_intercepts(alone, given_p, event)[0] == pytest.approx(intercept, abs=0.04)


def test_a_slope_that_does_not_exist_is_infinite_or_not_a_number() -> None:
    """Separated classes have no finite slope, one class alone none at all; certain probabilities break nothing."""
    event = np.array([False, False, True, True])
    ones = np.ones((1, 4))
    assert reliability._slopes(np.array([-2.0, -1.0, 1.0, 2.0]), event, ones)[0] == np.inf
    assert reliability._slopes(np.array([2.0, 1.0, -1.0, -2.0]), event, ones)[0] == -np.inf
    assert np.isnan(reliability._slopes(np.arange(4.0), np.ones(4, bool), ones)[0])
    assert np.isnan(reliability._intercepts(np.arange(4.0), np.ones(4, bool), ones)[0])
    certain = reliability.calibration_slopes(_alone(4), np.array([0.0, 1.0, 0.0, 1.0]), event)
    assert np.isfinite(certain[0])
