"""The cluster bootstrap of all draws at once: what it keeps, how often its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.evaluation.resampling import Resampling, ratio

rows = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40)


@given(rows)
def test_sums_are_those_of_the_images_weights(cases: list[tuple[bool, int]]) -> None:
    """Group by group or image by image: the same numbers; the first row is the sample itself."""
    values, groups = np.array([case[0] for case in cases], dtype=float), [str(case[1]) for case in cases]
    resampling = Resampling(groups, draws=30)
    by_image = resampling.over_images(lambda weights: weights @ values)
    assert resampling.sums(values)[:, 0] == pytest.approx(by_image)
    assert by_image[0] == values.sum()
    assert resampling.over_images(lambda weights: weights.sum(axis=1)).min() >= 1


@given(rows)
def test_the_order_of_the_images_changes_nothing(cases: list[tuple[bool, int]]) -> None:
    """Groups are numbered by name, so the draws are the same."""
    holds, groups = np.array([case[0] for case in cases]), np.array([str(case[1]) for case in cases])
    order = np.random.default_rng(0).permutation(len(cases))
    assert Resampling(groups, draws=50).share(holds) == Resampling(groups[order], draws=50).share(holds[order])


@given(rows)
def test_copies_within_a_group_change_no_interval(cases: list[tuple[bool, int]]) -> None:
    """Every image three times in its own group is no more evidence."""
    holds, groups = np.array([case[0] for case in cases]), np.array([str(case[1]) for case in cases])
    one = Resampling(groups, draws=50).share(holds)
    three = Resampling(np.repeat(groups, 3), draws=50).share(np.repeat(holds, 3))
    assert (one.low, one.high, one.groups) == (three.low, three.high, three.groups)
    assert three.value == pytest.approx(one.value)
    assert three.n == 3 * one.n


def test_a_share_of_one_or_none_has_the_exact_bound() -> None:
    """.025 ** (1 / groups) of those groups that take part."""
    resampling = Resampling([str(number // 2) for number in range(24)])
    every = resampling.share(np.ones(24, bool))
    assert (every.low, every.high) == (pytest.approx(0.025 ** (1 / 12)), 1.0)
    few = resampling.share(np.zeros(24, bool), np.arange(24) < 6)
    assert (few.n, few.groups, few.low) == (6, 3, 0.0)
    assert few.high == pytest.approx(1 - 0.025 ** (1 / 3))


def test_what_cannot_be_said_is_null_with_a_reason() -> None:
    """No image at all; one group alone; a metric without a bound."""
    resampling = Resampling(["a", "a", "b", "b", "c"])
    nothing = resampling.share(np.ones(5, bool), np.zeros(5, bool))
    assert (nothing.value, nothing.reason) == (None, "no such image")
    alone = resampling.share(np.array([True, False, False, False, False]), np.arange(5) < 2)
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)
    assert "too few groups" in (alone.reason or "")
    endless = resampling.estimate(np.concatenate(([1.0], np.full(resampling.draws, np.inf))))
    assert (endless.value, endless.low, endless.high) == (1.0, None, None)
    assert "unbounded" in (endless.reason or "")


def test_grouping_widens_an_interval() -> None:
    """200 values in 20 groups of equal values are worth less than 200 of their own."""
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 20), 10).astype(bool)
    alone = Resampling([str(number) for number in range(200)]).share(values)
    grouped = Resampling([str(number // 10) for number in range(200)]).share(values)
    assert None not in (alone.low, alone.high, grouped.low, grouped.high)
    assert (grouped.high or 0) - (grouped.low or 0) > 2 * ((alone.high or 0) - (alone.low or 0))


def test_large_sets_get_fewer_draws() -> None:
    """Draws times images stay within a budget; 200 at least."""
    assert Resampling(["a", "b"]).draws == 2000
    assert Resampling([str(number % 500) for number in range(100_000)]).draws == 400


def test_a_quotient_by_zero_is_nan() -> None:
    """And warns of nothing."""
    assert np.isnan(ratio(np.array([1.0]), np.array([0.0])))[0]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "least"), [(60, 0.90), (240, 0.925)])
def test_intervals_hold_the_truth_nearly_as_often_as_they_say(count: int, least: float) -> None:
    """A share of .8 in groups of one to four images that resemble each other; few groups: a little too short."""
    noise, hits, times = np.random.default_rng(7), 0, 2000
    for _ in range(times):
        groups = np.repeat(np.arange(count), noise.integers(1, 5, count))
        own = noise.beta(4, 1, count)  # mean .8, correlation within a group 1/6
        holds = noise.random(len(groups)) < own[groups]
        found = Resampling(groups.astype(str), draws=400).share(holds)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.8 <= found.high
    assert least <= hits / times <= 0.97
