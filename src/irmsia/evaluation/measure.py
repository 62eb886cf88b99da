"""Every figure that a classifier of one region is judged by, with its interval, and the curves behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from irmsia.evaluation import counts
from irmsia.evaluation.answered import Predictions
from irmsia.evaluation.estimate import Estimate
from irmsia.evaluation.net_benefit import DecisionCurve, decision_curve
from irmsia.evaluation.ranking import (
    ONE_CLASS,
    Blocks,
    auroc_estimate,
    precision_recall_curve,
    risk_coverage_curve,
    roc_curve,
    weighted_aurc,
    weighted_auroc,
    weighted_average_precision,
)
from irmsia.evaluation.reliability import (
    Bin,
    brier_scores,
    calibration_error,
    calibration_intercepts,
    calibration_slopes,
    log_losses,
    noise_floor,
    reliability_bins,
)
from irmsia.evaluation.resampling import Mask, Resampling
from irmsia.findings.arrays import Array
from irmsia.findings.types import Decision

ABNORMAL = "p(abnormal)"
_NOBODY = "no image of the class"
_NEVER_SAID = "no image was called it"


@dataclass(frozen=True, slots=True)
class Figure:
    """A named estimate; ``term`` is null for what concerns the whole region."""

    region: str | None
    term: str | None
    name: str
    estimate: Estimate

    @property
    def label(self) -> str:
        """Region, term and name in one line."""
        return " ".join(part for part in (self.region, self.term, self.name) if part)


@dataclass(frozen=True, slots=True)
class Curves:
    """What is drawn. Points are (x, y) rows.

    Attributes:
        roc: by term, false positive rate and sensitivity.
        precision_recall: by term, recall and precision.
        reliability: by what the probability is of: ``confidence`` (of the most probable term) and p(abnormal).
        risk_coverage: coverage and error rate.
        decision: net benefit of acting on p(abnormal), null where no term is ``normal``.
    """

    roc: dict[str, Array] = field(default_factory=dict)
    precision_recall: dict[str, Array] = field(default_factory=dict)
    reliability: dict[str, tuple[Bin, ...]] = field(default_factory=dict)
    risk_coverage: Array = field(default_factory=lambda: np.zeros((0, 2)))
    decision: DecisionCurve | None = None


@dataclass(frozen=True, slots=True)
class ClassCount:
    """Images and groups of one term."""

    term: str
    images: int
    groups: int


@dataclass(frozen=True, slots=True)
class RegionReport:
    """Everything measured of one region; ``confusion`` (K, K) has the truth in its rows."""

    region: str
    terms: tuple[str, ...]
    n: int
    groups: int
    classes: tuple[ClassCount, ...]
    figures: tuple[Figure, ...]
    confusion: NDArray[np.int64]
    curves: Curves
    draws: int

    def find(self, name: str, term: str | None = None) -> Estimate | None:
        """The estimate of that name, null where it was not measured."""
        return next((row.estimate for row in self.figures if (row.term, row.name) == (term, name)), None)


def measure(predictions: Predictions, *, seed: int = 0, draws: int | None = None) -> RegionReport:
    """Measure one region.

    Per term (one against the others): sensitivity, specificity, PPV, NPV, F1 of the most probable term over all
    images, AUROC, AUPRC, calibration slope and intercept, conformal coverage. Overall: accuracy and its relatives,
    scores, calibration errors beside their floors, conformal sets, decisions, risk-coverage.
    """
    resampling = Resampling(predictions.groups, seed=seed, draws=draws)
    named = [*_overall(predictions, resampling, seed)]
    figures = [Figure(predictions.region, None, name, estimate) for name, estimate in named]
    for index, term in enumerate(predictions.terms):
        figures += [
            Figure(predictions.region, term, name, estimate)
            for name, estimate in _of_term(predictions, resampling, index)
        ]
    return RegionReport(
        region=predictions.region,
        terms=predictions.terms,
        n=resampling.n,
        groups=resampling.groups,
        classes=tuple(_count(predictions, resampling, index) for index in range(len(predictions.terms))),
        figures=tuple(figures),
        confusion=counts.confusion(predictions.truth, predictions.said, len(predictions.terms)),
        curves=_curves(predictions, seed),
        draws=resampling.draws,
    )


def measure_routing(every: Sequence[Predictions], *, seed: int = 0) -> Figure | None:
    """The share of all regions' images whose region was found; null where nobody routed."""
    routed = [predictions.routed for predictions in every]
    found = [mask for mask in routed if mask is not None]
    if not found or len(found) != len(every):
        return None
    groups = [f"{predictions.region}|{group}" for predictions in every for group in predictions.groups]
    return Figure(None, None, "router accuracy", Resampling(groups, seed=seed).share(np.concatenate(found)))


def _count(predictions: Predictions, resampling: Resampling, index: int) -> ClassCount:
    own = predictions.truth == index
    return ClassCount(predictions.terms[index], int(own.sum()), resampling.count_groups(own))


def _overall(predictions: Predictions, resampling: Resampling, seed: int) -> Iterator[tuple[str, Estimate]]:
    yield from _confused(predictions, resampling)
    yield "macro AUROC", _macro_auroc(predictions, resampling)
    yield "Brier score", resampling.mean(brier_scores(predictions.probabilities, predictions.truth))
    yield "log loss", resampling.mean(log_losses(predictions.probabilities, predictions.truth))
    yield from _calibration(predictions, resampling, seed)
    yield from _operating_point(predictions, resampling)
    yield from _sets(predictions, resampling)
    yield from _decisions(predictions, resampling)
    wrong, confidence = predictions.said != predictions.truth, predictions.probabilities.max(axis=1)
    blocks = Blocks.of(confidence)
    area = resampling.over_images(lambda weights: weighted_aurc(blocks, wrong, weights))
    yield "AURC", resampling.estimate(area)


def _confused(predictions: Predictions, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    matrices = _matrices(predictions, resampling)
    absent = "a class has no image"
    yield "accuracy", resampling.estimate(counts.accuracy(matrices), share=True)
    yield "balanced accuracy", resampling.estimate(counts.balanced_accuracy(matrices), share=True, absent=absent)
    yield "macro F1", resampling.estimate(counts.macro_f1(matrices), share=True, absent=absent)
    yield "weighted F1", resampling.estimate(counts.weighted_f1(matrices), share=True)
    yield "Cohen's kappa", resampling.estimate(counts.kappa(matrices), share=True, absent="one class alone")
    yield "MCC", resampling.estimate(counts.matthews(matrices), share=True, absent="truth or answers never vary")


def _matrices(predictions: Predictions, resampling: Resampling) -> Array:
    terms = len(predictions.terms)
    cells = np.eye(terms * terms)[predictions.truth * terms + predictions.said]
    return resampling.sums(cells).reshape(-1, terms, terms)


def _macro_auroc(predictions: Predictions, resampling: Resampling) -> Estimate:
    areas = [
        resampling.over_images(_auroc_of(predictions.probabilities[:, index], predictions.truth == index))
        for index in range(len(predictions.terms))
    ]
    return resampling.estimate(np.mean(areas, axis=0), share=True, absent=ONE_CLASS)


def _calibration(predictions: Predictions, resampling: Resampling, seed: int) -> Iterator[tuple[str, Estimate]]:
    right, confidence = predictions.said == predictions.truth, predictions.probabilities.max(axis=1)
    yield "ECE", resampling.estimate_normal(calibration_error(resampling, confidence, right))
    yield "ECE if calibrated", noise_floor(resampling, confidence, seed=seed)
    abnormal, diseased = predictions.abnormal, predictions.diseased
    if abnormal is None or diseased is None:
        return
    yield f"{ABNORMAL} AUROC", auroc_estimate(diseased, abnormal, predictions.groups)
    yield f"{ABNORMAL} ECE", resampling.estimate_normal(calibration_error(resampling, abnormal, diseased))
    yield f"{ABNORMAL} ECE if calibrated", noise_floor(resampling, abnormal, seed=seed)
    for name, estimate in _line(resampling, abnormal, diseased):
        yield f"{ABNORMAL} {name}", estimate


def _line(resampling: Resampling, probability: Array, event: Mask) -> Iterator[tuple[str, Estimate]]:
    separated = ONE_CLASS if event.all() or not event.any() else "the probabilities separate the classes"
    slopes = calibration_slopes(resampling, probability, event)
    yield "calibration slope", resampling.estimate(slopes, absent=separated)
    intercepts = calibration_intercepts(resampling, probability, event)
    yield "calibration intercept", resampling.estimate(intercepts, absent=ONE_CLASS)


def _operating_point(predictions: Predictions, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    """At the frozen operating point, among answered (not refused) images."""
    present, diseased = predictions.present, predictions.diseased
    if present is None or diseased is None:
        return
    answered = _answered(predictions)
    yield "operating point sensitivity", resampling.share(present, answered & diseased)
    yield "operating point specificity", resampling.share(~present, answered & ~diseased)


def _sets(predictions: Predictions, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    if predictions.sets is None:
        return
    sizes = predictions.sets.sum(axis=1)
    yield "conformal coverage", resampling.share(_covered(predictions.sets, predictions.truth))
    yield "conformal set size", resampling.mean(sizes)
    for size in range(len(predictions.terms) + 1):
        if size or (sizes == 0).any():
            yield f"sets of size {size}", resampling.share(sizes == size)


def _decisions(predictions: Predictions, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    if predictions.decisions is None:
        return
    for decision in Decision:
        yield f"{decision.value} share", resampling.share(predictions.decisions == decision.value)
    right = predictions.said == predictions.truth
    if predictions.routed is not None:
        right = right & predictions.routed
    yield "right among ACCEPT", resampling.share(right, predictions.decisions == Decision.ACCEPT.value)


def _of_term(predictions: Predictions, resampling: Resampling, index: int) -> Iterator[tuple[str, Estimate]]:
    own, said = predictions.truth == index, predictions.said == index
    probability = predictions.probabilities[:, index]
    yield "sensitivity", resampling.share(said, own)
    yield "specificity", resampling.share(~said, ~own)
    yield "PPV", resampling.share(own, said)
    yield "NPV", resampling.share(~own, ~said)
    matrices = _matrices(predictions, resampling)
    yield "F1", resampling.estimate(counts.f1(matrices)[:, index], own | said, share=True, absent=_NEVER_SAID)
    yield "AUROC", auroc_estimate(own, probability, predictions.groups)
    blocks = Blocks.of(probability)
    precision = resampling.over_images(lambda weights: weighted_average_precision(blocks, own, weights))
    yield "AUPRC", resampling.estimate(precision, share=True, absent=_NOBODY)
    yield from _line(resampling, probability, own)
    if predictions.sets is not None:
        yield "conformal coverage", resampling.share(_covered(predictions.sets, predictions.truth), own)


def _auroc_of(score: Array, positive: Mask) -> Callable[[Array], Array]:
    blocks = Blocks.of(score)
    return lambda weights: weighted_auroc(blocks, positive, weights)


def _answered(predictions: Predictions) -> Mask:
    if predictions.decisions is None:
        return np.ones(len(predictions.truth), dtype=bool)
    return np.asarray(predictions.decisions != Decision.REFUSE.value)


def _covered(sets: Mask, truth: NDArray[np.int64]) -> Mask:
    return sets[np.arange(len(truth)), truth]


def _curves(predictions: Predictions, seed: int) -> Curves:
    right, confidence = predictions.said == predictions.truth, predictions.probabilities.max(axis=1)
    reliability = {"confidence": reliability_bins(confidence, right, seed=seed)}
    abnormal, diseased = predictions.abnormal, predictions.diseased
    if abnormal is not None and diseased is not None:
        reliability[ABNORMAL] = reliability_bins(abnormal, diseased, seed=seed)
    drawn = {
        term: (predictions.truth == index, predictions.probabilities[:, index])
        for index, term in enumerate(predictions.terms)
        if 0 < (predictions.truth == index).sum() < len(predictions.truth)
    }
    return Curves(
        roc={term: roc_curve(own, score) for term, (own, score) in drawn.items()},
        precision_recall={term: precision_recall_curve(own, score) for term, (own, score) in drawn.items()},
        reliability=reliability,
        risk_coverage=risk_coverage_curve(~right, confidence),
        decision=None if abnormal is None or diseased is None else decision_curve(diseased, abnormal),
    )
