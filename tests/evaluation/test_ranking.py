"""AUROC, average precision, risk-coverage and the AUROC's interval, against scikit-learn, brute force and theory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as reference

from irmsia.evaluation import metrics, ranking
from irmsia.evaluation.ranking import Blocks, auroc_estimate

Cases = list[tuple[bool, int, int]]
cases = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40)

# Ratings 1 (definitely normal) to 5 of 58 normal and 51 abnormal CT images: Hanley and McNeil, Radiology 143, 1982.
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def _columns(rows: Cases) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    positive, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    return positive.astype(bool), score.astype(float), weight.astype(float)


@given(cases)
def test_weighted_auroc_is_scikit_learn_s(rows: Cases) -> None:
    """With ties and weights of 0 to 3; NaN where a class has no weight."""
    positive, score, weight = _columns(rows)
    found = ranking.weighted_auroc(Blocks.of(score), positive, weight[None])[0]
    if not weight[positive].sum() or not weight[~positive].sum():
        assert np.isnan(found)
        return
    assert found == pytest.approx(reference.roc_auc_score(positive, score, sample_weight=weight))


@given(cases)
def test_average_precision_is_scikit_learn_s(rows: Cases) -> None:
    """With ties and weights; NaN without a positive."""
    positive, score, weight = _columns(rows)
    found = ranking.weighted_average_precision(Blocks.of(score), positive, weight[None])[0]
    if not weight[positive].sum():
        assert np.isnan(found)
        return
    assert found == pytest.approx(reference.average_precision_score(positive, score, sample_weight=weight))


@given(cases)
def test_the_area_under_risk_and_coverage_counted_one_by_one(rows: Cases) -> None:
    """The mean of the error rates among the images at least as confident; a weight of 2 is the image twice."""
    wrong, confidence, weight = _columns(rows)
    assume(weight.sum() > 0)
    twice = [(w, c) for w, c, times in zip(wrong, confidence, weight, strict=True) for _ in range(int(times))]
    risks = [np.mean([w for w, other in twice if other >= c]) for _, c in twice]
    found = ranking.weighted_aurc(Blocks.of(confidence), wrong, weight[None])[0]
    assert found == pytest.approx(np.mean(risks))


@given(cases)
def test_curves_are_those_of_scikit_learn(rows: Cases) -> None:
    """ROC and precision-recall points, of which scikit-learn's are a part or the other way round."""
    positive, score, _ = _columns(rows)
    assume(0 < positive.sum() < len(positive))
    rate, sensitivity, _ = reference.roc_curve(positive, score, drop_intermediate=False)
    assert ranking.roc_curve(positive, score) == pytest.approx(np.stack([rate, sensitivity], axis=1))
    precision, recall, _ = reference.precision_recall_curve(positive, score)
    ours = ranking.precision_recall_curve(positive, score)
    assert ours[::-1] == pytest.approx(np.stack([recall, precision], axis=1)[:-1])


@given(cases, st.sampled_from([np.exp, lambda x: 3 * x - 7, np.cbrt, lambda x: x**3]))
def test_a_monotone_transform_changes_no_auroc(rows: Cases, transform: object) -> None:
    """Only the order counts, for the value and for the interval."""
    positive, score, _ = _columns(rows)
    groups = [str(number // 2) for number in range(len(rows))]
    assert callable(transform)
    assert auroc_estimate(positive, transform(score), groups) == auroc_estimate(positive, score, groups)


@given(cases)
def test_the_order_of_the_images_changes_no_auroc(rows: Cases) -> None:
    """Nor its interval."""
    positive, score, _ = _columns(rows)
    groups = np.array([str(number // 3) for number in range(len(rows))])
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    one, other = auroc_estimate(positive, score, groups), auroc_estimate(positive[order], score[order], groups[order])
    assert (one.value, one.groups, one.method) == (other.value, other.groups, other.method)
    assert [one.low, one.high] == pytest.approx([other.low, other.high])


def test_the_area_of_a_published_example() -> None:
    """Hanley and McNeil print .893 by Wilcoxon; DeLong's error by the definition, pair by pair."""
    score = np.concatenate([np.repeat(np.arange(1, 6), NORMAL), np.repeat(np.arange(1, 6), ABNORMAL)]).astype(float)
    positive = np.arange(len(score)) >= sum(NORMAL)
    found = auroc_estimate(positive, score, [str(number) for number in range(len(score))])
    assert found.value == pytest.approx(0.893, abs=5e-4)
    assert found.method == "DeLong"
    assert found.value is not None
    error = np.sqrt(_delong_variance(positive, score))
    reach = 1.959964 * error / (found.value * (1 - found.value))
    middle = np.log(found.value / (1 - found.value))
    assert [found.low, found.high] == pytest.approx(
        [1 / (1 + np.exp(reach - middle)), 1 / (1 + np.exp(-reach - middle))]
    )
    assert error == pytest.approx(0.032, abs=2e-3)  # the paper's own estimate, by another method


@given(cases)
def test_the_clustered_variance_by_its_definition(rows: Cases) -> None:
    """Obuchowski 1997, formulas for S10, S01 and S11 written out cluster by cluster."""
    positive, score, _ = _columns(rows)
    groups = [str(number // 3) for number in range(len(rows))]
    held = [{g for g, p in zip(groups, positive, strict=True) if p is np.bool_(side)} for side in (True, False)]
    assume(min(map(len, held)) >= 2)
    area = metrics.auroc(positive, score)
    found = ranking._auroc_variance(positive, score, np.unique(groups, return_inverse=True)[1], area)
    assert found == pytest.approx(max(_obuchowski_variance(positive, score, groups, area), 0.0), abs=1e-12)


def test_copies_within_a_group_tell_nothing_new() -> None:
    """Every image three times, its copies in its own group: the same area, the same interval."""
    noise = np.random.default_rng(5)
    positive = noise.random(60) < 0.5
    score, groups = noise.normal(size=60) + positive, np.repeat(np.arange(20), 3).astype(str)
    one = auroc_estimate(positive, score, groups)
    three = auroc_estimate(np.repeat(positive, 3), np.repeat(score, 3), np.repeat(groups, 3))
    assert [one.value, one.low, one.high] == pytest.approx([three.value, three.low, three.high])
    assert one.method == three.method == "Obuchowski"


def test_a_perfect_order_is_no_proof() -> None:
    """The lower bound is the exact one of the rarer class's groups."""
    positive = np.array([False] * 10 + [True] * 4)
    found = auroc_estimate(positive, np.arange(14.0), [str(number // 2) for number in range(14)])
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 2))


def test_one_class_is_null_with_the_reason() -> None:
    """So is the interval where a class comes from one patient."""
    assert auroc_estimate(np.zeros(3, bool), np.arange(3.0), "abc").reason == ranking.ONE_CLASS
    alone = auroc_estimate(np.array([True, True, False, False]), np.array([1.0, 3.0, 2.0, 0.0]), ["a", "a", "b", "c"])
    assert alone.value == 0.75
    assert (alone.low, alone.high) == (None, None)
    assert alone.reason == "a class comes from one group alone"


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_the_interval_holds_the_truth_as_often_as_it_says(clustered: bool) -> None:
    """Binormal scores of AUROC .92 known exactly; 60 groups of one image or of three that share an effect."""
    from scipy.stats import norm

    noise, shift, hits = np.random.default_rng(9), 2.0, 0
    truth = float(norm.cdf(shift / np.sqrt(2)))
    for _ in range(2000):
        a_group = 3 if clustered else 1
        groups = np.repeat(np.arange(60), a_group)
        positive = noise.random(len(groups)) < 0.5
        shared = np.sqrt(0.6) * np.repeat(noise.normal(size=60), a_group) if clustered else 0.0
        score = shared + np.sqrt(0.4 if clustered else 1.0) * noise.normal(size=len(groups)) + shift * positive
        found = auroc_estimate(positive, score, groups.astype(str))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 2000 <= 0.975


def _delong_variance(positive: np.ndarray, score: np.ndarray) -> float:
    yes, no = score[positive], score[~positive]
    order = (yes[:, None] > no[None]) + 0.5 * (yes[:, None] == no[None])
    return float(order.mean(axis=1).var(ddof=1) / len(yes) + order.mean(axis=0).var(ddof=1) / len(no))


def _obuchowski_variance(positive: np.ndarray, score: np.ndarray, groups: Sequence[str], area: float) -> float:
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)

    def order(i: int, j: int) -> float:
        return float(score[i] > score[j]) + 0.5 * float(score[i] == score[j])

    names = sorted(set(groups))
    v10 = {name: sum(np.mean([order(i, j) for j in no]) - area for i in yes if groups[i] == name) for name in names}
    v01 = {name: sum(np.mean([order(i, j) for i in yes]) - area for j in no if groups[j] == name) for name in names}
    i10, i01 = len({groups[i] for i in yes}), len({groups[j] for j in no})
    m, n, count = len(yes), len(no), len(names)
    s10 = i10 / ((i10 - 1) * m) * sum(value**2 for value in v10.values())
    s01 = i01 / ((i01 - 1) * n) * sum(value**2 for value in v01.values())
    s11 = count / (count - 1) * sum(v10[name] * v01[name] for name in names)
    return s10 / m + s01 / n + 2 * s11 / (m * n)
