from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.errors import InvalidRequestError
from irmsia.findings.conformal import choose_one_per_group, conformal_terms, fit_conformal, quantile
from irmsia.findings.rules import Conformal
from tests.findings.cases import make_group

TERMS = ("normal", "glioma", "meningioma")


def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a mediocre model and the truth, three classes."""
    truth = random.integers(0, 3, count)
    logits = random.normal(0, 1, (count, 3)) + 1.5 * (np.arange(3) == truth[:, None])
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True), truth


def name(count: int) -> list[str]:
    """Names that differ, one a row."""
    return [f"{row:05d}" for row in range(count)]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_holds_for_every_class(coverage: float) -> None:
    """Over many calibration sets the share of sets that hold the truth is at least the stated one, class by class."""
    random = np.random.default_rng(5)
    hits: list[list[bool]] = [[], [], []]
    for _ in range(60):
        chances, truth = draw(random, 240)
        found = fit_conformal(chances, truth, terms=TERMS, groups=name(240), keys=name(240), coverage=coverage)
        assert not any(found.pooled)
        new, real = draw(random, 100)
        inside = 1 - new <= np.asarray(found.quantiles)
        for row, k in enumerate(real):
            hits[k].append(bool(inside[row, k]))
    for k in range(3):
        assert coverage - 0.02 <= np.mean(hits[k]) <= coverage + 0.04


def test_quantile_by_hand() -> None:
    """k = ceil((n + 1) coverage): of 19 scores at 95 % the 19th, of 18 none; of 20 the 20th, of 39 the 38th."""
    for n, rank in ((19, 19), (20, 20), (39, 38), (99, 95)):
        assert quantile(np.arange(1, n + 1) / 100, 0.95) == rank / 100
    assert quantile(np.arange(1, 19) / 100, 0.95) == 1.0


def test_few_groups_are_pooled_and_said_so() -> None:
    """A class with 38 groups takes the quantile of all, one with 39 its own, which is not its largest score."""
    truth = np.array([0] * 39 + [1] * 38 + [2] * 43)
    chances = np.full((120, 3), 0.25)
    chances[np.arange(120), truth] = np.linspace(0.3, 0.9, 120)
    found = fit_conformal(chances, truth, terms=TERMS, groups=name(120), keys=name(120))
    assert found.n == (39, 38, 43)
    assert found.pooled == (False, True, False)
    scores = np.sort(1 - chances[np.arange(120), truth])
    assert found.quantiles[1] == scores[int(np.ceil(121 * 0.95)) - 1]
    assert found.quantiles[0] == np.sort(1 - chances[:39, 0])[-2]


def test_one_image_a_group() -> None:
    """Of a patient's images only the one of the smallest digest counts, whatever the order."""
    groups, keys = ["a", "b", "a", "a"], ["3", "1", "2", "9"]
    assert choose_one_per_group(groups, keys, 4).tolist() == [1, 2]
    chances, truth = draw(np.random.default_rng(1), 200)
    groups, keys = [str(row // 2) for row in range(200)], [f"{row * 7919 % 200:04d}" for row in range(200)]
    found = fit_conformal(chances, truth, terms=TERMS, groups=groups, keys=keys)
    assert sum(found.n) == 100
    order = np.random.default_rng(2).permutation(200)
    again = fit_conformal(
        chances[order], truth[order], terms=TERMS, groups=[groups[i] for i in order], keys=[keys[i] for i in order]
    )
    assert again == found


def test_an_empty_set_takes_its_largest_term() -> None:
    """When no term is within its quantile the most probable one is the set."""
    group = make_group("brain", quantile=0.1)
    assert conformal_terms(group, np.array([0.2, 0.5, 0.2, 0.1])) == ("glioma",)
    assert conformal_terms(group, np.array([0.9, 0.1, 0.0, 0.0])) == ("normal",)


def test_the_boundary_belongs_to_the_set() -> None:
    """1 - p equal to the quantile is inside, the next double above is not."""
    p = np.array([0.75, 0.25])
    inside = Conformal(coverage=0.95, quantiles=(1.0, 0.75), pooled=(False,) * 2, n=(40,) * 2)
    outside = inside.model_copy(update={"quantiles": (1.0, float(np.nextafter(0.75, 0)))})
    assert conformal_terms(make_group("chest", conformal=inside), p) == ("normal", "pneumonia")
    assert conformal_terms(make_group("chest", conformal=outside), p) == ("normal",)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_sets_grow_with_coverage(seed: int, count: int, one: float, other: float) -> None:
    """A higher coverage never gives a smaller quantile, and quantiles lie within 0..1 for any number of samples."""
    chances, truth = draw(np.random.default_rng(seed), count)
    low, high = (
        fit_conformal(chances, truth, terms=TERMS, groups=name(count), keys=name(count), coverage=c).quantiles
        for c in sorted((one, other))
    )
    assert all(0 <= a <= b <= 1 for a, b in zip(low, high, strict=True))


def test_independent_group_has_normal_too() -> None:
    """Without any finding an image of an independent group belongs to `normal`, p = product of (1 - p)."""
    terms = ("edema", "fracture")
    truth = np.array([[0, 0], [1, 0], [0, 1], [1, 1]] * 20)
    chances = np.where(truth == 1, 0.9, 0.05)
    found = fit_conformal(chances, truth, terms=terms, groups=name(80), keys=name(80), kind="independent")
    assert found.n == (40, 40, 20)
    group = make_group("chest", kind="independent", terms=terms, conformal=found)
    assert conformal_terms(group, np.array([0.05, 0.05])) == ("normal",)
    assert conformal_terms(group, np.array([0.95, 0.05])) == ("edema",)
    assert conformal_terms(group, np.array([0.95, 0.95])) == terms


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1.5, float("nan")])
def test_coverage_out_of_range(coverage: float) -> None:
    """A coverage that is none raises `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError):
        fit_conformal([[0.5, 0.5]], [0], terms=("normal", "glioma"), groups=["a"], keys=["a"], coverage=coverage)


def test_bad_input_is_a_typed_error() -> None:
    """NaN and a missing group raise `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError):
        fit_conformal([[np.nan, 0.5]], [0], terms=("normal", "glioma"), groups=["a"], keys=["a"])
    with pytest.raises(InvalidRequestError):
        fit_conformal([[0.5, 0.5]], [0], terms=("normal", "glioma"), groups=[], keys=["a"])
