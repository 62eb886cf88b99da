"""The six panels of a region: ROC, precision-recall, reliability, confusion, risk-coverage, decision curve."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from irmsia.evaluation.measure import ABNORMAL, RegionReport
from irmsia.evaluation.plots.canvas import BLUE, COLOURS, FAINT, INK, Panel, make_sheet, text

_MOST_DRAWN = 6
_WORD = 12


def make_figure(report: RegionReport) -> str:
    """All panels of a region as one SVG document."""
    title = f"{report.region}: {report.n} images of {report.groups} patients or clusters"
    return make_sheet(title, _panels(report))


def _panels(report: RegionReport) -> Iterator[Panel]:
    yield _roc(report)
    yield _precision_recall(report)
    yield _reliability(report)
    yield _confusion(report)
    yield _risk_coverage(report)
    if report.curves.decision is not None:
        yield _decision(report)


def _roc(report: RegionReport) -> Panel:
    panel = Panel("ROC", "1 - specificity", "sensitivity").axes()
    panel.line([(0, 0), (1, 1)], FAINT, dashed=True, width=1)
    rows = []
    for colour, (term, points) in zip(COLOURS, report.curves.roc.items(), strict=False):
        panel.line(points, colour)
        rows.append((colour, f"{_short(term)} {_value(report, 'AUROC', term)}"))
    panel.key(rows, bottom=True, right=True)
    return panel


def _precision_recall(report: RegionReport) -> Panel:
    panel = Panel("Precision and recall", "recall (sensitivity)", "precision (PPV)").axes()
    rows = []
    for colour, (term, points) in zip(COLOURS, report.curves.precision_recall.items(), strict=False):
        panel.line(np.concatenate(([[0.0, points[0, 1]]], points)), colour)
        rows.append((colour, f"{_short(term)} {_value(report, 'AUPRC', term)}"))
    panel.key(rows, bottom=True)
    return panel


def _reliability(report: RegionReport) -> Panel:
    name = ABNORMAL if ABNORMAL in report.curves.reliability else "confidence"
    panel = Panel(f"Reliability of {name}", "mean probability", "share that holds").axes()
    for bar in report.curves.reliability[name]:
        panel.bar((bar.predicted - 0.02, bar.predicted + 0.02), bar.band, BLUE, opacity=0.18)
    panel.line([(0, 0), (1, 1)], FAINT, dashed=True, width=1)
    for bar in report.curves.reliability[name]:
        inside = bar.band[0] <= bar.observed <= bar.band[1]
        panel.dot(bar.predicted, bar.observed, BLUE if inside else COLOURS[1])
        above = bar.observed < 0.9
        panel.marks.append(_count(panel, bar.predicted, bar.observed, bar.n, above=above))
    panel.subtitle("shaded: 95 % of calibrated models; numbers: images")
    return panel


def _count(panel: Panel, x: float, y: float, n: int, *, above: bool) -> str:
    return text(panel.x(x), panel.y(y) + (-7 if above else 15), str(n), size=9, colour=FAINT)


def _confusion(report: RegionReport) -> Panel:
    count = len(report.terms)
    panel = Panel("Confusion", "said", "truth", (0, count), (0, count))
    shares = report.confusion / np.maximum(report.confusion.sum(axis=1, keepdims=True), 1)
    for row in range(count):
        for column in range(count):
            share, top = float(shares[row, column]), count - row
            panel.bar((column, column + 1), (top - 1, top), BLUE if row == column else COLOURS[1], opacity=share)
            colour = "#ffffff" if share > 0.55 else INK
            panel.note(column + 0.5, top - 0.5, str(report.confusion[row, column]), colour=colour)
            if count <= _MOST_DRAWN:
                panel.note(column + 0.5, top - 0.5 - 14 / (224 / count), f"{share:.0%}", colour=colour)
    panel.axes(x_ticks=(), y_ticks=())
    if count <= _MOST_DRAWN:
        _name_cells(panel, report.terms)
    return panel


def _name_cells(panel: Panel, terms: tuple[str, ...]) -> None:
    count = len(terms)
    for index, term in enumerate(terms):
        word = _short(term, _WORD if count < 4 else 9)
        panel.marks.append(text(panel.x(index + 0.5), panel.y(0) + 14, word, size=9.5, colour=FAINT))
        turned = text(0, 0, word, size=9.5, colour=FAINT)
        place = f"{panel.x(0) - 7:.1f} {panel.y(count - index - 0.5):.1f}"
        panel.marks.append(f'<g transform="translate({place}) rotate(-90)">{turned}</g>')


def _risk_coverage(report: RegionReport) -> Panel:
    points = report.curves.risk_coverage
    top = _rounded_up(max(float(points[:, 1].max(initial=0.0)), 0.02))
    panel = Panel("Risk and coverage", "share answered, most confident first", "error rate", y_range=(0.0, top)).axes()
    panel.line(points, BLUE)
    panel.key([(BLUE, f"area {_value(report, 'AURC')}")])
    return panel


def _decision(report: RegionReport) -> Panel:
    curve = report.curves.decision
    if curve is None:
        raise ValueError("a region without a decision curve has no such panel")
    top = _rounded_up(max(float(curve.everybody.max()), float(curve.model.max()), 0.1))
    panel = Panel("Decision curve", f"threshold of {ABNORMAL}", "net benefit", y_range=(-top / 4, top))
    panel.axes(y_ticks=[round(step * top / 4, 4) for step in range(-1, 5)])
    panel.line([(0, 0), (1, 0)], FAINT, width=1.2)
    panel.line(np.stack([curve.threshold, curve.everybody], axis=1), COLOURS[4], dashed=True)
    panel.line(np.stack([curve.threshold, curve.model], axis=1), BLUE)
    panel.key([(BLUE, "act by the model"), (COLOURS[4], "act on everybody")], bottom=True)
    return panel


def _value(report: RegionReport, name: str, term: str | None = None) -> str:
    estimate = report.find(name, term)
    return "-" if estimate is None or estimate.value is None else f"{estimate.value:.3f}"


def _short(term: str, most: int = 16) -> str:
    """A term's name that fits: without the words that all terms of a region share."""
    word = term.removeprefix("breast_").removeprefix("phantom_").removesuffix("_lesion").replace("_", " ")
    return word if len(word) <= most else f"{word[: most - 1]}."


def _rounded_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8, 10 times a power of ten, so that ticks read well."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * 0.999))
