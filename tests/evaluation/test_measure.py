"""A whole report: what one counts by hand, scikit-learn's figures, laws, speed, and nothing that is not finite."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from irmsia.errors import InvalidRequestError
from irmsia.evaluation.answered import AnsweredImage, make_predictions, split_by_region
from irmsia.evaluation.measure import RegionReport, measure, measure_routing
from irmsia.evaluation.report import Evaluation, to_json
from tests.evaluation.made import TERMS, make_images, make_table


def _value(report: RegionReport, name: str, term: str | None = None) -> float | None:
    estimate = report.find(name, term)
    assert estimate is not None, name
    return estimate.value


def _image(number: int, term: str, p: float, decision: str) -> AnsweredImage:
    return AnsweredImage(
        region="chest",
        term=term,
        group=f"p{number}",
        probabilities={"normal": 1 - p, "pneumonia": p},
        routed="chest" if number else "brain",
        decision=decision,
        present=p > 0.5 and decision != "REFUSE",
        conformal_set=("normal", "pneumonia") if 0.25 < p < 0.75 else (("normal",) if p < 0.5 else ("pneumonia",)),
    )


def test_the_report_of_a_small_table_counted_by_hand() -> None:
    """Four answers, one wrong, one referred, one routed elsewhere."""
    images = [
        _image(0, "normal", 0.1, "ACCEPT"),
        _image(1, "pneumonia", 0.9, "ACCEPT"),
        _image(2, "normal", 0.8, "ACCEPT"),
        _image(3, "pneumonia", 0.6, "REFER"),
    ]
    report = measure(make_predictions(images))
    routing = measure_routing(split_by_region(images))
    assert routing is not None
    assert routing.estimate.value == 0.75
    wanted = {
        "accuracy": 0.75,
        "balanced accuracy": 0.75,
        "p(abnormal) AUROC": 0.75,
        "ACCEPT share": 0.75,
        "REFER share": 0.25,
        "REFUSE share": 0.0,
        "right among ACCEPT": 1 / 3,  # the first was answered as a brain
        "operating point sensitivity": 1.0,
        "operating point specificity": 0.5,
        "conformal coverage": 0.75,
        "conformal set size": 1.25,
        "sets of size 1": 0.75,
        "sets of size 2": 0.25,
        "Brier score": 2 * (0.01 + 0.01 + 0.64 + 0.16) / 4,
        "AURC": (0.0 + 0.0 + 1 / 3 + 1 / 4) / 4,
    }
    assert {name: _value(report, name) for name in wanted} == pytest.approx(wanted)
    assert _value(report, "sensitivity", "normal") == 0.5
    assert _value(report, "PPV", "pneumonia") == pytest.approx(2 / 3)
    assert report.confusion.tolist() == [[1, 1], [0, 2]]
    assert [(row.term, row.images, row.groups) for row in report.classes] == [("normal", 2, 2), ("pneumonia", 2, 2)]


def test_point_values_are_scikit_learn_s() -> None:
    """On 300 made images of three terms, every figure that scikit-learn has."""
    table = make_table(300)
    report, truth, said, p = measure(table), table.truth, table.said, table.probabilities
    wanted = {
        "accuracy": reference.accuracy_score(truth, said),
        "macro F1": reference.f1_score(truth, said, average="macro"),
        "weighted F1": reference.f1_score(truth, said, average="weighted"),
        "Cohen's kappa": reference.cohen_kappa_score(truth, said),
        "MCC": reference.matthews_corrcoef(truth, said),
        "macro AUROC": reference.roc_auc_score(truth, p, multi_class="ovr"),
        "Brier score": reference.brier_score_loss(truth, p),
        "log loss": reference.log_loss(truth, p),
        "p(abnormal) AUROC": reference.roc_auc_score(truth != 0, 1 - p[:, 0]),
    }
    assert {name: _value(report, name) for name in wanted} == pytest.approx(wanted)
    for index, term in enumerate(TERMS):
        assert _value(report, "AUROC", term) == pytest.approx(reference.roc_auc_score(truth == index, p[:, index]))
        assert _value(report, "AUPRC", term) == pytest.approx(
            reference.average_precision_score(truth == index, p[:, index])
        )
        assert _value(report, "F1", term) == pytest.approx(reference.f1_score(truth == index, said == index))


def test_every_figure_has_an_interval_around_it_with_n_and_groups() -> None:
    """On a set of some size none is missing, and each holds its own value."""
    report = measure(make_table(300))
    assert len(report.figures) > 50
    for figure in report.figures:
        estimate = figure.estimate
        assert estimate.whole, figure
        assert estimate.low <= estimate.value <= estimate.high, figure
        assert 0 < estimate.groups <= estimate.n <= 300, figure


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_rows_changes_no_figure(seed: int) -> None:
    """Rows in another order; the same intervals, for the draws go by group."""
    images = make_images(60, seed=seed)
    order = np.random.default_rng(seed).permutation(60)
    one = measure(make_predictions(images), draws=50)
    other = measure(make_predictions([images[index] for index in order]), draws=50)
    for figure, twin in zip(one.figures, other.figures, strict=True):
        first, second = figure.estimate, twin.estimate
        assert (first.n, first.groups, first.reason) == (second.n, second.groups, second.reason)
        if figure.name.endswith("if calibrated"):
            continue  # simulated image by image: the same within noise only
        numbers = [(first.value, second.value), (first.low, second.low), (first.high, second.high)]
        assert all(a == b or a == pytest.approx(b, abs=1e-9) for a, b in numbers), figure.label


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000), st.integers(1, 4), st.integers(2, 3))
def test_small_and_odd_sets_never_give_nan(count: int, seed: int, a_group: int, terms: int) -> None:
    """One image, one group, one class: JSON without NaN, and a reason beside every null."""
    table = make_table(count, seed=seed, a_group=a_group, terms=TERMS[:terms])
    report = measure(table, draws=50)
    text = json.dumps(to_json(Evaluation("t", (), (report,))), allow_nan=False)
    assert json.loads(text)["regions"]["brain"]["n"] == count
    for figure in report.figures:
        estimate = figure.estimate
        assert estimate.whole or estimate.reason, figure


def test_one_class_alone_is_told_so() -> None:
    """Truth is always normal: accuracy stands, what needs two classes is null with a reason."""
    images = [replace(image, term="normal") for image in make_images(40)]
    report = measure(make_predictions(images))
    assert _value(report, "accuracy") is not None
    for name, term in (
        ("AUROC", "normal"),
        ("specificity", "normal"),
        ("sensitivity", "glioma"),
        ("macro AUROC", None),
    ):
        estimate = report.find(name, term)
        assert estimate is not None
        assert estimate.value is None
        assert estimate.reason
    assert report.curves.roc == {}


def test_nothing_is_made_up_for_columns_that_are_not_there() -> None:
    """Without decisions, sets, a router and a normal term there are no such figures."""
    images = [
        AnsweredImage("x", "abc"[row % 3], str(row), dict(zip("abc", (0.5, 0.3, 0.2), strict=True))) for row in range(9)
    ]
    report = measure(make_predictions(images))
    names = {figure.name for figure in report.figures}
    assert not [name for name in names if "ACCEPT" in name or "conformal" in name or "abnormal" in name]
    assert report.curves.decision is None
    assert measure_routing(split_by_region(images)) is None


def test_a_decision_curve_by_hand() -> None:
    """At threshold .5: two of four true, one false at odds 1; everybody: half true, half false."""
    images = [
        _image(row, term, p, "ACCEPT")
        for row, (term, p) in enumerate([("pneumonia", 0.9), ("pneumonia", 0.6), ("normal", 0.7), ("normal", 0.1)])
    ]
    curve = measure(make_predictions(images)).curves.decision
    assert curve is not None
    assert curve.threshold[49] == 0.5
    assert curve.model[49] == pytest.approx(2 / 4 - 1 / 4)
    assert curve.everybody[49] == pytest.approx(0.0)
    assert curve.model[79] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": {"normal": 0.6, "pneumonia": 0.6}}, "sum 1"),
        ({"probabilities": {"normal": float("nan"), "pneumonia": 1.0}}, "sum 1"),
        ({"probabilities": {"normal": 1.5, "pneumonia": -0.5}}, "sum 1"),
        ({"probabilities": {"normal": 1.0}}, "other terms"),
        ({"term": "glioma"}, "none of the terms"),
        ({"conformal_set": ("glioma",)}, "none of the terms"),
        ({"decision": None}, "decision is there for some"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    """The second image says it, and it is counted."""
    images = [_image(0, "normal", 0.1, "ACCEPT"), replace(_image(1, "normal", 0.2, "ACCEPT"), **change)]
    with pytest.raises(InvalidRequestError, match=message):
        make_predictions(images)


def test_a_report_of_a_thousand_images_is_quick() -> None:
    """Well under a minute of one core; 20 s are allowed, about 3 were seen."""
    table = make_table(1000)
    start = time.process_time()
    measure(table)
    assert time.process_time() - start < 20
