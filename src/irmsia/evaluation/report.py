"""The report of an evaluation as a page for people (Markdown) and as an object for programs (JSON)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irmsia import DISCLAIMER
from irmsia.evaluation.estimate import Estimate
from irmsia.evaluation.measure import Figure, RegionReport
from irmsia.findings.arrays import Array

REFERENCES = Path(__file__).parent / "reference_figures.csv"

_MOST_POINTS = 500

QUICK = (
    ("balanced accuracy", "balanced accuracy"),
    ("macro AUROC", "macro AUROC"),
    ("sensitivity *", "operating point sensitivity"),
    ("specificity *", "operating point specificity"),
    ("ACCEPT", "ACCEPT share"),
    ("right among ACCEPT", "right among ACCEPT"),
    ("conformal coverage", "conformal coverage"),
)

_METHODS = """
- Truth is the collection's label. What was said is the most probable term of the true region's terms, over all images,
  refused ones among them, unless a line says otherwise.
- Intervals: cluster bootstrap with {draws} draws of whole patients or clusters (percentiles); AUROC of one class:
  DeLong where every group gives one image, else Obuchowski's clustered form, on the logit scale; shares of exactly 0
  or 1: exact binomial bound over groups, which other figures of exactly 1 borrow. `?`: unbounded. Intervals tell how
  far the figure would move with other patients of the same source, nothing about another hospital.
- PPV, NPV, F1, AUPRC, accuracy, net benefit and calibration hold at the class ratio of these images only.
- Brier score: squared distance summed over the terms, 0 to 2. Log loss: natural logarithm. Slope 1 and intercept 0 are
  perfect; the intercept is at slope 1.
- ECE: ten bins of equal width, of the most probable term or of p(abnormal). `ECE if calibrated` is what a perfectly
  calibrated model shows on as many images by chance (median and central 95 %): an ECE within it says nothing against
  the calibration.
- Conformal coverage: the share of sets that hold the truth. The promise is for one image a group.
- AURC: the mean, over the images, of the error rate among the images at least as confident; small is good.
- Decision curve: true positives less false positives weighed by the odds of the threshold, a share of all images.
"""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a report says.

    Attributes:
        title: its first line.
        facts: what was measured, how, on what and when: (name, text) rows of its head.
        regions: one report a region.
        routing: the router's figure, null where nobody routed.
        limitations: sentences of the model's maker.
        references: whether others' figures are named for orientation.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    regions: tuple[RegionReport, ...]
    routing: Figure | None = None
    limitations: tuple[str, ...] = ()
    references: bool = False

    def figures(self) -> list[Figure]:
        """Every figure, the router's first."""
        own = [figure for region in self.regions for figure in region.figures]
        return own if self.routing is None else [self.routing, *own]


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Every number; what is not defined is null beside a reason."""
    return {
        "schema_version": 1,
        "title": evaluation.title,
        "facts": dict(evaluation.facts),
        "router": None if evaluation.routing is None else evaluation.routing.estimate.to_json(),
        "regions": {report.region: _region_to_json(report) for report in evaluation.regions},
        "limitations": list(evaluation.limitations),
        "disclaimer": DISCLAIMER,
    }


def to_markdown(evaluation: Evaluation, figure_of: Callable[[str], str | None]) -> str:
    """The page. ``figure_of`` gives the file name of a region's figure, null for none."""
    sections = [
        f"# {evaluation.title}",
        f"**{DISCLAIMER}**",
        _table(("", ""), evaluation.facts),
        *_in_a_hurry(evaluation),
    ]
    for report in evaluation.regions:
        sections += _region(report, figure_of(report.region), references=evaluation.references)
    if evaluation.limitations:
        sections += ["## Limitations", "\n".join(f"- {sentence}" for sentence in evaluation.limitations)]
    sections += ["## How the numbers were made", _methods(evaluation)]
    return "\n\n".join(sections) + "\n"


def show(estimate: Estimate | None) -> str:
    """``0.970 [0.953, 0.985]``; ``-`` for what is not defined."""
    if estimate is None or estimate.value is None:
        return "-"
    low, high = ("?" if bound is None else _number(bound) for bound in (estimate.low, estimate.high))
    return f"{_number(estimate.value)} [{low}, {high}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"


def _region_to_json(report: RegionReport) -> dict[str, Any]:
    curves = report.curves
    return {
        "n": report.n,
        "groups": report.groups,
        "draws": report.draws,
        "terms": list(report.terms),
        "classes": [asdict(row) for row in report.classes],
        "overall": {row.name: row.estimate.to_json() for row in report.figures if row.term is None},
        "by_term": {
            term: {row.name: row.estimate.to_json() for row in report.figures if row.term == term}
            for term in report.terms
        },
        "confusion": report.confusion.tolist(),
        "curves": {
            "roc": {term: _points(points) for term, points in curves.roc.items()},
            "precision_recall": {term: _points(points) for term, points in curves.precision_recall.items()},
            "reliability": {name: [asdict(bar) for bar in bars] for name, bars in curves.reliability.items()},
            "risk_coverage": _points(curves.risk_coverage),
            "decision": None
            if curves.decision is None
            else {
                "threshold": curves.decision.threshold.tolist(),
                "model": curves.decision.model.tolist(),
                "everybody": curves.decision.everybody.tolist(),
            },
        },
    }


def _points(points: Array) -> list[list[float]]:
    """At most 500 of them, evenly over the curve, with both ends."""
    chosen = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).round().astype(int))
    return [[round(float(x), 6), round(float(y), 6)] for x, y in points[chosen]]


def _in_a_hurry(evaluation: Evaluation) -> Iterator[str]:
    yield "## In a hurry"
    heads = [head for head, name in QUICK if any(report.find(name) for report in evaluation.regions)]
    names = dict(QUICK)
    rows = [
        (report.region, f"{report.n} ({report.groups})", *(show(report.find(names[head])) for head in heads))
        for report in evaluation.regions
    ]
    yield _table(("region", "images (groups)", *heads), rows)
    notes = "Value [95 % interval]. A group is a patient or a cluster of near-duplicates."
    if "sensitivity *" in heads:
        notes += " \\* At the frozen operating point, normal against the rest, among images that were not refused."
    if evaluation.routing is not None:
        estimate = evaluation.routing.estimate
        notes += f" Region found: {show(estimate)} of {estimate.n} images."
    yield notes


def _region(report: RegionReport, figure: str | None, *, references: bool) -> Iterator[str]:
    yield f"## {report.region}"
    held = ", ".join(f"{row.term} {row.images} ({row.groups})" for row in report.classes)
    yield f"{report.n} images of {report.groups} groups: {held}."
    yield "### By class"
    yield "One class against the others. Value [95 % interval], then images/groups that take part."
    yield _by_class(report)
    yield "### Overall"
    yield _overall(report)
    yield "### Confusion"
    rows = [(term, *map(str, line)) for term, line in zip(report.terms, report.confusion.tolist(), strict=True)]
    yield _table(("truth \\ said", *report.terms), rows)
    if figure is not None:
        yield f"![Curves of {report.region}]({figure})"
    if references and (others := _references(report.region)):
        yield "Others' results, for orientation only: other splits, other subsets, often images instead of patients."
        yield _table(("task", "figure", "note"), others)


def _by_class(report: RegionReport) -> str:
    names = dict.fromkeys(figure.name for figure in report.figures if figure.term is not None)
    rows = [(name, *(_cell(report.find(name, term)) for term in report.terms)) for name in names]
    return _table(("", *report.terms), rows)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.value is None:
        return f"- ({estimate.reason}); {estimate.n}/{estimate.groups}"
    return f"{show(estimate)}; {estimate.n}/{estimate.groups}"


def _overall(report: RegionReport) -> str:
    rows = [
        (
            figure.name,
            show(figure.estimate),
            str(figure.estimate.n),
            str(figure.estimate.groups),
            figure.estimate.method if figure.estimate.reason is None else figure.estimate.reason,
        )
        for figure in report.figures
        if figure.term is None
    ]
    return _table(("figure", "value [95 % interval]", "images", "groups", "interval by"), rows)


def _references(region: str) -> list[tuple[str, ...]]:
    with REFERENCES.open(encoding="utf-8", newline="") as file:
        return [(row["task"], row["figure"], row["note"]) for row in csv.DictReader(file) if row["region"] == region]


def _methods(evaluation: Evaluation) -> str:
    draws = max((report.draws for report in evaluation.regions), default=0)
    return _METHODS.format(draws=f"{draws:,}").strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
