from __future__ import annotations

from math import nextafter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.errors import InvalidRequestError
from irmsia.findings.operating import abnormal_probability, fit_operating_point, fit_operating_points

SCORES = st.lists(st.integers(0, 20).map(lambda i: i / 20), min_size=1, max_size=60)


def sensitivity(scores: np.ndarray, positives: np.ndarray, threshold: float) -> float:
    """Share of the positives at or above the threshold."""
    return float((scores[positives] >= threshold).mean())


def specificity(scores: np.ndarray, positives: np.ndarray, threshold: float) -> float:
    """Share of the negatives below the threshold."""
    return float((scores[~positives] < threshold).mean())


def join(positive: list[float], negative: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and which are positive."""
    scores = np.array(positive + negative)
    return scores, np.arange(len(scores)) < len(positive)


@given(SCORES, SCORES)
def test_the_definition(positive: list[float], negative: list[float]) -> None:
    """``low``: the largest threshold with sensitivity >= 97.5 %; ``high``: the smallest with specificity >= 97.5 %."""
    scores, positives = join(positive, negative)
    found = fit_operating_point(scores, positives)
    assert sensitivity(scores, positives, found.low) >= 0.975
    assert sensitivity(scores, positives, nextafter(found.low, 2)) < 0.975
    if found.high < 1:
        assert specificity(scores, positives, found.high) >= 0.975
    assert specificity(scores, positives, nextafter(found.high, -1)) < 0.975
    assert found.separable == (found.low >= found.high)


@given(SCORES, SCORES)
def test_the_point_is_the_best_between(positive: list[float], negative: list[float]) -> None:
    """No threshold within [low, high] has a greater Youden index than the point; the midpoint where separable."""
    scores, positives = join(positive, negative)
    found = fit_operating_point(scores, positives)
    if found.separable:
        assert found.point == (found.low + found.high) / 2
        return
    assert found.low <= found.point <= found.high

    def index(threshold: float) -> float:
        return sensitivity(scores, positives, threshold) + specificity(scores, positives, threshold)

    candidates = [found.low, found.high, *(s for s in scores if found.low <= s <= found.high)]
    candidates += [nextafter(c, 2) for c in candidates if c < found.high]
    assert index(found.point) >= max(index(threshold) for threshold in candidates) - 1e-12


def test_by_hand() -> None:
    """40 positives may lose one and 40 negatives may call one; the point lies in the best stretch between."""
    positive = [0.3, 0.45] + [0.8] * 38
    negative = [0.7, 0.5] + [0.1] * 38
    found = fit_operating_point(*join(positive, negative))
    assert found.low == 0.45
    assert found.high == nextafter(0.5, 1)
    assert not found.separable
    # At .45 two negatives are called and one positive is missed; above .5 one is called and two are missed.
    assert found.point == 0.45


def test_a_stretch_is_halved() -> None:
    """Where the index is constant between two scores the point lies in their middle."""
    positive = [0.2] + [0.6] * 9
    negative = [0.3] * 9 + [0.7]
    found = fit_operating_point(*join(positive, negative))
    assert (found.low, found.high) == (0.2, nextafter(0.7, 1))
    assert found.point == pytest.approx(0.45)


def test_separable() -> None:
    """Perfectly separable scores: midpoint, an empty band."""
    found = fit_operating_point([0.9, 0.8, 0.1, 0.2], [True, True, False, False])
    assert found.separable
    assert (found.low, found.high) == (0.8, nextafter(0.2, 1))
    assert found.point == pytest.approx(0.5)


def test_negatives_at_one() -> None:
    """With negatives at probability 1 no threshold has the specificity; the band ends at 1."""
    assert fit_operating_point([1.0, 0.5, 1.0], [True, True, False]).high == 1.0


@pytest.mark.parametrize(
    ("scores", "positives"),
    [
        ([0.5, 0.6], [True, True]),
        ([0.5, 0.6], [False, False]),
        ([0.5], [True]),
        ([], []),
        ([0.5, np.nan], [True, False]),
        ([0.5, 1.5], [True, False]),
        ([0.5, 0.6], [True]),
    ],
)
def test_bad_input_is_a_typed_error(scores: list[float], positives: list[bool]) -> None:
    """A single class, a single sample, NaN, an empty or misshaped input raise `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError):
        fit_operating_point(scores, positives)


def test_abnormal_probability() -> None:
    """1 - p(normal) for an exclusive group, 1 - product of (1 - p) for an independent one."""
    assert abnormal_probability([[0.2, 0.8]], ("normal", "pneumonia"), "exclusive") == pytest.approx([0.8])
    assert abnormal_probability([0.5, 0.5], ("edema", "fracture"), "independent") == pytest.approx(0.75)


def test_points_of_groups() -> None:
    """An exclusive group has one point on p(abnormal), an independent group one a term."""
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    (found,) = fit_operating_points(chances, [0, 1, 0, 1], ("normal", "pneumonia"))
    assert found.low == pytest.approx(0.7)
    assert found.high == pytest.approx(0.4)
    both = fit_operating_points(chances, [[1, 0], [0, 1], [1, 0], [0, 1]], ("edema", "fracture"), "independent")
    assert [point.low for point in both] == [0.6, 0.7]
