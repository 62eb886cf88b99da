"""Metrics against hand-counted and independent values; intervals by groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.evaluation.bootstrap import group_bootstrap
from irmsia.evaluation.metrics import accuracy, auroc, balanced_accuracy, recall


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auroc_counts_pairs(cases: list[tuple[bool, int]]) -> None:
    """AUROC is the share of pairs in the right order, ties half: counted one by one."""
    positive = np.array([case[0] for case in cases])
    score = np.array([case[1] for case in cases], dtype=np.float64)
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    value = auroc(positive, score)
    assert np.isnan(value) if not pairs else value == pytest.approx(np.mean(pairs))


def test_balanced_accuracy_is_mean_recall() -> None:
    """Nine of ten and one of two: .9 and .5 give .7, though 10 of 12 are right."""
    truth = np.array(["a"] * 10 + ["b"] * 2)
    said = np.array(["a"] * 9 + ["b"] + ["b", "a"])
    assert balanced_accuracy(truth, said) == pytest.approx(0.7)
    assert accuracy(truth, said) == pytest.approx(10 / 12)
    assert recall(truth, said, "b") == pytest.approx(0.5)
    assert np.isnan(recall(truth, said, "c"))


def test_interval_grows_with_grouping() -> None:
    """The same 200 values in 20 groups of equal values are worth less than 200 independent ones."""
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 20), 10).astype(float)

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    alone = group_bootstrap([str(number) for number in range(200)], mean, seed=1)
    grouped = group_bootstrap([str(number // 10) for number in range(200)], mean, seed=1)
    assert (alone.n, alone.groups, grouped.groups) == (200, 200, 20)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert alone.low <= alone.value <= alone.high
    assert grouped == group_bootstrap([str(number // 10) for number in range(200)], mean, seed=1)


def test_a_perfect_share_has_the_exact_bound() -> None:
    """All right in 12 groups is no proof of 100 %: the interval reaches down to .025 ** (1/12); none wrong, mirrored.

    Groups without a case of the metric do not count.
    """
    groups = [f"p{number // 2}" for number in range(24)]
    right = group_bootstrap(groups, lambda chosen: 1.0, seed=1)
    assert (right.low, right.high) == (pytest.approx(0.025 ** (1 / 12)), 1.0)
    wrong = group_bootstrap(groups, lambda chosen: 0.0, seed=1)
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 12)))
    half = group_bootstrap(groups, lambda chosen: 1.0 if np.any(chosen < 12) else float("nan"), seed=1)
    assert half.low == pytest.approx(0.025 ** (1 / 6))


def test_what_is_not_defined_is_null_with_a_reason() -> None:
    """No NaN leaves the room."""
    nothing = group_bootstrap(["a", "b"], lambda chosen: float("nan"), seed=1)
    assert (nothing.value, nothing.low, nothing.high) == (None, None, None)
    assert nothing.reason
