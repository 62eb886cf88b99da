from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from irmsia.errors import BundleRejectedError, InternalError, InvalidRequestError
from irmsia.findings.fit_refusal import (
    StatisticPlan,
    fit_mahalanobis,
    fit_pca_residual,
    fit_refusal_scores,
    fit_refusal_thresholds,
)
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import Refusal, Statistic

ROUTER = ("chest", "brain", "phantom")
PLAN = (StatisticPlan("early", 0, 6, "mahalanobis"), StatisticPlan("grid", 6, 30, "pca_residual", components=5))


def draw(seed: int, count: int) -> tuple[np.ndarray, list[str]]:
    """Correlated features of two regions with different centres, and a few phantoms far away."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(0, 1, (30, 30))
    regions = ["chest", "brain"] * (count // 2) + ["phantom"] * 4
    features = random.normal(0, 1, (len(regions), 30)) @ mixing
    features[1:count:2] += 20
    features[count:] += 1e4
    return features, regions


def draw_router(regions: list[str], seed: int = 3) -> np.ndarray:
    """Router logits that are nearly always right."""
    random = np.random.default_rng(seed)
    truth = np.array([ROUTER.index(region) for region in regions])
    return random.normal(0, 1, (len(regions), 3)) + 6 * (np.arange(3) == truth[:, None])


def fit(seed: int = 0, count: int = 400) -> RefusalScores:
    """Scores fitted on one part."""
    return fit_refusal_scores(*draw(seed, count), PLAN)


def fit_both(count: int = 400, budget: float = 0.025, **changes: Any) -> tuple[Any, Refusal]:
    """Router and refusal thresholds of another part."""
    features, regions = draw(1, count)
    arguments: dict[str, Any] = {"scorer": fit(), "router_regions": ROUTER, "budget": budget}
    return fit_refusal_thresholds(draw_router(regions), features, regions, **(arguments | changes))


def test_scores_are_about_one_at_home_and_grow_away() -> None:
    """New images of a region score about 1, those of the other region and far ones far more, without bound."""
    scorer, (features, regions) = fit(), draw(7, 200)
    own = scorer.score_batch(features[[region == "chest" for region in regions]], "chest")
    other = scorer.score_batch(features[[region == "brain" for region in regions]], "chest")
    for name in ("early", "grid"):
        assert 0.7 < np.median(own[name]) < 1.6
        assert other[name].min() > own[name].max()
    far = scorer.score(np.full(30, 1e30), "chest")
    assert all(np.isfinite(value) and value > 1e20 for value in far.values())


def test_mahalanobis_in_the_limit() -> None:
    """With many samples the score is the textbook one: root of the squared distance a dimension."""
    random = np.random.default_rng(0)
    mixing = np.array([[2.0, 0.0], [1.0, 0.5]])
    score = fit_mahalanobis(random.normal(0, 1, (40_000, 2)) @ mixing.T)
    point = np.array([[3.0, -1.0]])
    expected = np.sqrt(point[0] @ np.linalg.inv(mixing @ mixing.T) @ point[0] / 2)
    assert score.score(point)[0] == pytest.approx(expected, rel=0.03)


def test_pca_residual_sees_what_no_component_explains() -> None:
    """A small step off the plane in which all the fitting data lie weighs more than a large one within it."""
    random = np.random.default_rng(0)
    plane = np.linalg.qr(random.normal(0, 1, (20, 2)))[0]
    features = random.normal(0, 1, (500, 2)) @ plane.T + random.normal(0, 0.01, (500, 20))
    score = fit_pca_residual(features, 2)
    off = random.normal(0, 1, 20)
    off -= plane @ (plane.T @ off)
    within, without = plane[:, 0][None] * 2, off[None] / np.linalg.norm(off) * 0.5
    assert score.score(without)[0] > score.score(within)[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 100))
def test_any_amount_of_data_gives_finite_scores(rows: int, size: int, seed: int) -> None:
    """One image, fewer images than dimensions, constant channels: scores are finite and not negative."""
    random = np.random.default_rng(seed)
    features = random.normal(0, 1, (rows, size))
    features[:, 0] = 3.0
    for score in (fit_mahalanobis(features), fit_pca_residual(features, 4)):
        values = score.score(random.normal(0, 5, (6, size)))
        assert np.isfinite(values).all() and (values >= 0).all()
        assert score.fits(size)


def test_batch_equals_each_alone() -> None:
    """Scores of a batch are those of its images, one by one."""
    scorer, (features, _) = fit(), draw(5, 10)
    batch = scorer.score_batch(features, "brain")
    for row, image in enumerate(features):
        alone = scorer.score(image, "brain")
        for name, values in batch.items():
            assert alone[name] == pytest.approx(values[row], rel=1e-12)


def test_phantoms_have_no_scores() -> None:
    """Rule 6 is skipped for test objects: nothing is fitted for them, and their far features change nothing."""
    features, regions = draw(0, 400)
    assert fit().score(features[-1], "phantom") == {}
    without = fit_refusal_scores(features[:400], regions[:400], PLAN)
    assert without.score(features[0], "chest") == fit().score(features[0], "chest")


def test_parameters_survive_their_file() -> None:
    """Scores from stored arrays equal those of the fit exactly: thresholds are those of what is stored."""
    scorer, (_, refusal) = fit(), fit_both()
    arrays = scorer.to_arrays()
    assert {values.dtype for values in arrays.values()} <= {np.dtype(np.float32), np.dtype(np.float64)}
    again = RefusalScores.from_arrays(load(save(arrays)), refusal)
    image = draw(8, 4)[0][0]
    assert again.score(image, "chest") == scorer.score(image, "chest")


@pytest.mark.parametrize(
    "change",
    [
        {"early/chest/mean": None},
        {"early/chest/mean": np.zeros(5)},
        {"early/chest/mean": np.full(6, np.nan)},
        {"early/chest/mean": np.zeros(6, dtype=np.int64)},
        {"early/knee/mean": np.zeros(6)},
        {"grid/brain/variances": None},
        {"grid/brain/residual": np.zeros(1)},
        {"grid/brain/spread": np.zeros(24)},
        {"other": np.zeros(1)},
    ],
)
def test_broken_parameters_are_rejected(change: dict[str, Any]) -> None:
    """A missing, foreign, misshaped, non-finite or ill-typed array rejects the bundle."""
    arrays: dict[str, Any] = {**fit().to_arrays(), **change}
    with pytest.raises(BundleRejectedError):
        RefusalScores.from_arrays({k: v for k, v in arrays.items() if v is not None}, fit_both()[1])


@pytest.mark.parametrize("count", [8, 80, 400])
@pytest.mark.parametrize("budget", [0.0, 0.025, 0.1])
def test_the_budget_holds_region_by_region(count: int, budget: float) -> None:
    """Rules 5 and 6 together refuse at most the budget of each region, spend it, and ``validation`` says so."""
    router, refusal = fit_both(count, budget)
    features, regions = draw(1, count)
    logits = draw_router(regions)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for k, region in enumerate(("chest", "brain")):
        rows = np.array([name == region for name in regions])
        refused = (chances[rows].max(axis=1) < router.threshold) | (chances[rows].argmax(axis=1) != k)
        for statistic in refusal.statistics:
            scores = fit().score_batch(features[rows], region)[statistic.name]
            refused |= scores > statistic.thresholds[region]
        share = refusal.validation[region]
        assert (share.n, share.refused) == (rows.sum(), refused.sum())
        allowed = int(budget * rows.sum() + 1e-9)
        assert share.refused <= max(allowed, share.misrouted)
        assert share.refused >= allowed - share.misrouted or budget == 0
    assert "phantom" not in refusal.validation


def test_every_quantity_takes_part() -> None:
    """With equal levels neither the router nor one statistic spends the whole budget of a region."""
    _, refusal = fit_both(2000, 0.1)
    for share in refusal.validation.values():
        assert share.features > 0.2 * share.refused
    assert sum(share.router for share in refusal.validation.values()) > 0


def test_an_outlier_does_not_widen_its_threshold() -> None:
    """A threshold stands within 1 % of the last kept image, however far the refused ones are."""
    features, regions = draw(1, 400)
    features[:4] += 1e5
    _, refusal = fit_refusal_thresholds(draw_router(regions), features, regions, scorer=fit(), router_regions=ROUTER)
    kept = fit().score_batch(features[4:400], "chest")["early"]
    own = kept[[region == "chest" for region in regions[4:400]]]
    assert refusal.statistics[0].thresholds["chest"] <= own.max() * 1.01


def test_misrouted_images_count() -> None:
    """Images that the router sends elsewhere use up the budget; beyond it nothing more is given up, and it shows."""
    features, regions = draw(1, 400)
    logits = draw_router(regions)
    logits[:100:2] = (0, 9, 0)
    _, refusal = fit_refusal_thresholds(logits, features, regions, scorer=fit(), router_regions=ROUTER)
    share = refusal.validation["chest"]
    assert (share.n, share.misrouted, share.refused) == (200, 50, 50)


def test_foreign_images_are_refused() -> None:
    """At the thresholds of the budget images of the other region and noise are all beyond them."""
    _, refusal = fit_both()
    limits = {statistic.name: statistic.thresholds["chest"] for statistic in refusal.statistics}
    random = np.random.default_rng(0)
    for foreign in (draw(9, 100)[0][1:100:2], random.normal(0, 300, (50, 30))):
        scores = fit().score_batch(foreign, "chest")
        assert np.any([scores[name] > limit for name, limit in limits.items()], axis=0).all()


@pytest.mark.parametrize(
    ("statistics", "regions", "plan"),
    [
        (np.full((2, 30), np.nan), ["chest"] * 2, PLAN),
        (np.zeros((2, 30)), ["chest"], PLAN),
        (np.zeros((2, 30)), ["phantom"] * 2, PLAN),
        (np.zeros((2, 30)), ["chest"] * 2, ()),
        (np.zeros((2, 30)), ["chest"] * 2, (StatisticPlan("a", 0, 31, "mahalanobis"),)),
        (np.zeros((2, 30)), ["chest"] * 2, (StatisticPlan("a/b", 0, 3, "mahalanobis"),)),
        (np.zeros((2, 30)), ["chest"] * 2, (PLAN[0], PLAN[0])),
        (np.zeros((0, 30)), [], PLAN),
    ],
)
def test_bad_fitting_data_are_a_typed_error(statistics: np.ndarray, regions: list[str], plan: Any) -> None:
    """NaN, wrong lengths, no region, slices that do not exist and double names raise `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError):
        fit_refusal_scores(statistics, regions, plan)


def test_bad_thresholds_data_are_a_typed_error() -> None:
    """A region without scores, a foreign region and a budget out of range raise `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError):
        fit_both(budget=1.5)
    with pytest.raises(InvalidRequestError):
        fit_refusal_thresholds(np.zeros((1, 3)), np.zeros((1, 30)), ["knee"], scorer=fit(), router_regions=ROUTER)
    with pytest.raises(InvalidRequestError):
        fit_refusal_thresholds(
            np.zeros((1, 4)), np.zeros((1, 30)), ["breast"], scorer=fit(), router_regions=(*ROUTER, "breast")
        )
    with pytest.raises(InvalidRequestError):
        fit_refusal_thresholds(np.zeros((1, 3)), np.zeros((1, 30)), ["phantom"], scorer=fit(), router_regions=ROUTER)


def test_too_few_statistics_are_an_internal_error() -> None:
    """A network whose output is shorter than the slices is a broken bundle, not a pass."""
    with pytest.raises(InternalError):
        fit().score(np.zeros(29), "chest")


def test_statistics_of_the_manifest() -> None:
    """Slices and names of the fit reach the manifest as they are."""
    _, refusal = fit_both()
    assert [(s.name, s.start, s.stop) for s in refusal.statistics] == [("early", 0, 6), ("grid", 6, 30)]
    assert all(isinstance(s, Statistic) and set(s.thresholds) == {"chest", "brain"} for s in refusal.statistics)
