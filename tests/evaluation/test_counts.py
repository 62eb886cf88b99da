"""Metrics of a confusion matrix against scikit-learn and published examples, one matrix and many at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from irmsia.evaluation import counts

Labels = list[tuple[int, int]]
labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def _matrix(pairs: Labels, terms: int = 4) -> np.ndarray:
    truth, said = np.array(pairs).T
    return counts.confusion(truth, said, terms).astype(float)


@given(labels)
def test_the_matrix_and_what_it_gives_are_scikit_learn_s(pairs: Labels) -> None:
    """Accuracy, F1 (class, macro, weighted), kappa and MCC, wherever all classes are there."""
    pairs = pairs + [(k, (k + 1) % 4) for k in range(4)]
    truth, said = np.array(pairs).T
    matrix = _matrix(pairs)
    assert np.array_equal(matrix, reference.confusion_matrix(truth, said, labels=range(4)))
    assert counts.accuracy(matrix) == pytest.approx(reference.accuracy_score(truth, said))
    assert counts.balanced_accuracy(matrix) == pytest.approx(reference.balanced_accuracy_score(truth, said))
    assert counts.f1(matrix) == pytest.approx(reference.f1_score(truth, said, average=None))
    assert counts.macro_f1(matrix) == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert counts.weighted_f1(matrix) == pytest.approx(reference.f1_score(truth, said, average="weighted"))
    assert counts.kappa(matrix) == pytest.approx(reference.cohen_kappa_score(truth, said))
    assert counts.matthews(matrix) == pytest.approx(reference.matthews_corrcoef(truth, said))
    assert counts.sensitivity(matrix) == pytest.approx(reference.recall_score(truth, said, average=None))
    assert counts.positive_predictive_value(matrix) == pytest.approx(
        reference.precision_score(truth, said, average=None)
    )


@given(labels)
def test_each_class_against_the_others_counted_one_by_one(pairs: Labels) -> None:
    """Specificity and NPV, NaN exactly where nobody is counted."""
    matrix = _matrix(pairs)
    for term in range(4):
        others = [said != term for truth, said in pairs if truth != term]
        passed = [truth != term for truth, said in pairs if said != term]
        for found, wanted in ((counts.specificity(matrix), others), (counts.negative_predictive_value(matrix), passed)):
            value = found[term]
            assert np.isnan(value) if not wanted else value == pytest.approx(np.mean(wanted))


@given(st.lists(labels, min_size=1, max_size=4), st.sampled_from([f for f in dir(counts) if f.islower()]))
def test_many_matrices_at_once_are_each_alone(many: list[Labels], name: str) -> None:
    """Leading axes change nothing."""
    metric = getattr(counts, name)
    if getattr(metric, "__module__", "") != counts.__name__ or name.startswith("_") or name == "confusion":
        return
    matrices = np.stack([_matrix(pairs) for pairs in many])
    assert metric(matrices) == pytest.approx(np.stack([metric(matrix) for matrix in matrices]), nan_ok=True)


def test_kappa_of_a_worked_example() -> None:
    """Two readers of 50 applications, 20 + 15 alike: observed .70, by chance .50, kappa .40."""
    assert counts.kappa(np.array([[20.0, 5.0], [10.0, 15.0]])) == pytest.approx(0.4)


def test_matthews_of_two_classes_is_the_phi_coefficient() -> None:
    """(TP TN - FP FN) over the root of the margins' product."""
    tn, fp, fn, tp = 90.0, 4.0, 1.0, 5.0
    phi = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert counts.matthews(np.array([[tn, fp], [fn, tp]])) == pytest.approx(phi)


def test_undefined_is_nan_and_never_zero() -> None:
    """One class alone: no specificity of it, no kappa, no MCC, no balanced accuracy over two."""
    alone = np.array([[5.0, 0.0], [0.0, 0.0]])
    assert np.isnan(counts.specificity(alone)[0])
    assert np.isnan(counts.sensitivity(alone)[1])
    assert all(np.isnan(metric(alone)) for metric in (counts.kappa, counts.matthews, counts.balanced_accuracy))
    assert np.isnan(counts.macro_f1(alone))
