"""The studies of the training: folds that keep groups whole, labels that are shuffled and nothing else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.breast_cv import FOLDS, fold_numbers
from benchmarks.ideas import cross_validate
from benchmarks.shuffled_labels import make_control, shuffle_labels
from tests.training.made import RECIPE, make_cases

pytestmark = pytest.mark.train


def test_folds_keep_groups_whole_and_spread_classes(tmp_path: Path) -> None:
    """A cluster lies in one fold, each fold has its share of each class, another repeat has other folds."""
    rows = [row for row in make_cases(tmp_path / "cases", count=100).rows if row.region == "chest"]
    doubled = [row for row in rows for _ in range(2)]
    folds = fold_numbers(doubled, 0)
    assert (folds[::2] == folds[1::2]).all()
    for term in ("normal", "pneumonia"):
        held = Counter(fold for fold, row in zip(folds, doubled, strict=True) if row.term == term)
        assert set(held) == set(range(FOLDS))
        assert max(held.values()) - min(held.values()) <= 2
    assert (fold_numbers(doubled, 1) != folds).any()


def test_only_training_labels_are_shuffled(tmp_path: Path) -> None:
    """Within a region, as many of each; other parts keep theirs; another permutation differs."""
    rows = make_cases(tmp_path / "cases", count=100).rows
    shuffled = shuffle_labels(rows, 0)
    for old, new in zip(rows, shuffled, strict=True):
        assert old.part == "train" or old == new
    counts = [Counter((row.region, row.term) for row in part) for part in (rows, shuffled)]
    assert counts[0] == counts[1]
    assert [row.term for row in shuffled] != [row.term for row in rows]
    assert [row.term for row in shuffle_labels(rows, 1)] != [row.term for row in shuffled]


def test_a_leak_is_seen() -> None:
    """AUROC far above 0.5 with every permutation does not hold 0.5; scattered about it does."""
    assert not make_control("pneumonia", 0.99, [0.70, 0.72, 0.69, 0.71, 0.70]).holds
    assert make_control("pneumonia", 0.99, [0.2, 0.8, 0.4, 0.7, 0.5]).holds


def test_perfect_logits_are_accepted_and_random_ones_are_not(tmp_path: Path) -> None:
    """The comparison of ideas: certain and right networks accept nearly all, guessing ones next to nothing."""
    region = RECIPE.regions[0]
    rows = [row for row in make_cases(tmp_path / "cases", count=300).rows if row.region == region.region]
    truth = np.array([region.terms.index(row.term) for row in rows])
    order = np.random.default_rng(1)
    sure = 12.0 * np.eye(2)[truth] + order.normal(0, 0.5, (len(rows), 2))
    good = cross_validate("good", region, sure, rows, coverage=0.95)
    assert (good.accepted, good.right) > (0.9, 0.99)
    guessed = cross_validate("guess", region, order.normal(0, 1, (len(rows), 2)), rows, coverage=0.95)
    assert guessed.accepted < 0.3
    assert min(guessed.realised.values()) > 0.85
