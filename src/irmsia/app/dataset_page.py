"""A dataset as one page to look at and to print: it needs no network, no script and no other file.

All text from outside goes through `_text`; the page forbids itself everything but its own style and pictures.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path

from irmsia.app import dataset_plots as plots
from irmsia.app.dataset_summary import TextTable, attention, headline, summarise, tell_condition
from irmsia.app.dataset_words import DatasetWords
from irmsia.app.printable import printable
from irmsia.datasets.agreement import Contradiction
from irmsia.datasets.citation import Citations, Reference
from irmsia.datasets.densities import class_names, intensity_densities, patient_bars, size_points
from irmsia.datasets.figures import DatasetStatistics
from irmsia.datasets.record import Record
from irmsia.datasets.source_probe import SourceProbe

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MOST_BARS = 24
_MOST_CONTRADICTIONS = 20


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of the contact sheet; ``jpeg`` is null where it could not be read. ``number`` names it in a list."""

    path: str
    label: str | None
    jpeg: bytes | None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Sheet:
    """Pictures by label, of how many images they were drawn, and with which seed."""

    pictures: tuple[Picture, ...] = ()
    total: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a page shows: the dataset of that ``name``, ``revision`` and ``state``, whose files lie below ``root``."""

    name: str
    revision: int
    state: str
    records: Sequence[Record]
    figures: DatasetStatistics
    root: Path
    probe: SourceProbe | None = None
    citations: Citations | None = None
    sheet: Sheet = Sheet()


def make_page(report: DatasetReport, language: str) -> Iterator[bytes]:
    """The page, UTF-8, piece by piece. ``language`` is ``en`` or ``fr``."""
    page = _Page(report, DatasetWords(language))
    return (piece.encode("utf-8", "replace") for piece in page.pieces())


def make_review_page(name: str, sheet: Sheet, list_name: str, language: str) -> Iterator[bytes]:
    """A sample to check by hand, numbered as in the list of verdicts ``list_name`` beside it."""
    words = DatasetWords(language)
    note = words["review_note"].format(len(sheet.pictures), words.count(sheet.total), sheet.seed, list_name)

    def pieces() -> Iterator[str]:
        yield _begin(words["review"].format(name), words)
        yield f"<header>\n<h1>{_text(words['review'].format(name))}</h1>\n"
        yield f'<p class="disclaimer">{_text(words["disclaimer"])}</p>\n<p>{_text(note)}</p>\n</header>\n'
        yield from _pictures(sheet.pictures, words, large=True)
        yield "</body>\n</html>\n"

    return (piece.encode("utf-8", "replace") for piece in pieces())


class _Page:
    def __init__(self, report: DatasetReport, words: DatasetWords) -> None:
        self._report = report
        self._words = words
        tables = summarise(report.figures, words, report.probe)
        self._tables = {table.key: table for table in tables}
        self._classes = class_names(report.records, plots.COLOURS)
        self._names = [words["unlabelled"] if name is None else name for name in self._classes]

    def pieces(self) -> Iterator[str]:
        """The page from top to bottom."""
        words = self._words
        yield _begin(words["title"].format(self._report.name), words)
        yield from self._head()
        yield from self._section("classes", self._class_plot())
        yield from self._section("split", self._split_plot())
        yield from self._section("sizes", self._size_plot())
        yield from self._section("intensities", self._intensity_plot())
        yield from self._section("patients", self._patient_plot())
        yield from self._section("kinds")
        yield from self._section("duplicates", below=self._contradictions())
        yield from self._section("probe")
        yield from self._section("problems")
        yield from self._section("missing")
        yield from self._sheet()
        yield from self._foot()
        yield "</body>\n</html>\n"

    def _head(self) -> Iterator[str]:
        words, report, figures = self._words, self._report, self._report.figures
        facts = [f"<b>{_text(number)}</b> {_text(what)}" for number, what in headline(figures, words)]
        yield f"<header>\n<h1>{_text(words['title'].format(report.name))}</h1>\n"
        yield f'<p class="disclaimer">{_text(words["disclaimer"])}</p>\n'
        yield f'<p class="dim">{words["revision"]} {report.revision}, {words["state"]} '
        yield f"<code>{_text(report.state[:16])}</code></p>\n"
        yield f'<p class="counts large">{"".join(f"<span>{fact}</span>" for fact in facts)}</p>\n</header>\n'
        sentences = attention(figures, words, report.probe)
        if sentences:
            yield f'<section class="attention">\n<h2>{_text(words["attention"])}</h2>\n{_list(sentences)}</section>\n'

    def _section(self, key: str, plot: str = "", below: str = "") -> Iterator[str]:
        """A table with its plot beside it; nothing where there is nothing to say."""
        table = self._tables.get(key)
        if table is None:
            return
        yield f'<section class="{key}">\n<h2>{_text(self._words[key])}</h2>\n<div class="beside">\n'
        yield f"<div>\n{_table(table)}</div>\n"
        yield f"<figure>\n{plot}</figure>\n" if plot else ""
        yield f"</div>\n{below}</section>\n"

    def _class_plot(self) -> str:
        words = self._words
        rows = [
            (words["unlabelled"] if row.label is None else row.label, float(row.images), words.count(row.images))
            for row in self._report.figures.classes[:_MOST_BARS]
        ]
        return plots.bars(rows, words["class_plot"])

    def _split_plot(self) -> str:
        parts = self._report.figures.parts
        if parts is None:
            return ""
        rows = []
        for part in parts.parts:
            held = {row.name: row.images for row in part.classes}
            rows.append((part.part, [float(held.get(name, 0)) for name in self._classes]))
        return plots.stacked(rows, self._names, self._words["split"]) + plots.legend(self._names)

    def _size_plot(self) -> str:
        words = self._words
        points = size_points(self._report.records, self._classes)
        drawn = plots.scatter(points, words["columns_axis"], words["rows_axis"], words["size_plot"])
        return drawn and f"{_caption(words['size_plot'])}{drawn}{plots.legend(self._names)}"

    def _intensity_plot(self) -> str:
        words = self._words
        dtype, limits, shares = intensity_densities(self._report.records, self._classes)
        about = words["intensity_plot"].format(dtype)
        drawn = plots.curves(shares, limits, words["mean_axis"], words["share_axis"], about)
        return drawn and f"{_caption(about)}{drawn}{plots.legend(self._names)}"

    def _patient_plot(self) -> str:
        words = self._words
        rows = patient_bars(self._report.figures.patients.histogram)
        drawn = plots.columns(rows, words["per_patient_axis"], words["patients_axis"], words["patient_plot"])
        return drawn and f"{_caption(words['patient_plot'])}{drawn}"

    def _contradictions(self) -> str:
        """The files whose labels contradict each other, each once."""
        words, seen = self._words, set()
        shown: list[Contradiction] = []
        for row in self._report.figures.agreement:
            for example in row.examples:
                if frozenset(example.paths) not in seen:
                    seen.add(frozenset(example.paths))
                    shown.append(example)
        if not shown:
            return ""
        items = "".join(
            f"<li>{_text(words[row.kind])}, {_text(' / '.join(row.labels))}: "
            f"{' '.join(f'<code>{_text(path)}</code>' for path in row.paths)}</li>\n"
            for row in shown[:_MOST_CONTRADICTIONS]
        )
        more = words["examples_capped"].format(_MOST_CONTRADICTIONS, len(shown))
        capped = f'<p class="dim">{_text(more)}</p>\n' if len(shown) > _MOST_CONTRADICTIONS else ""
        return f"<h3>{_text(words['examples'])}</h3>\n<ul>\n{items}</ul>\n{capped}"

    def _sheet(self) -> Iterator[str]:
        words, sheet = self._words, self._report.sheet
        if sheet.pictures:
            note = words["sheet_note"].format(len(sheet.pictures), words.count(sheet.total), sheet.seed)
            yield f'<section>\n<h2>{_text(words["sheet"])}</h2>\n<p class="dim">{_text(note)}</p>\n'
            yield from _pictures(sheet.pictures, words)
            yield "</section>\n"

    def _foot(self) -> Iterator[str]:
        words, citations = self._words, self._report.citations
        yield "<footer>\n"
        if citations is not None:
            yield f"<h2>{_text(words['references'])}</h2>\n<ul>\n"
            yield "".join(f"<li>{self._reference(row)}</li>\n" for row in citations.references)
            yield "</ul>\n" + _list(tell_condition(row, words) for row in citations.conditions)
        yield f'<p class="disclaimer">{_text(words["disclaimer"])}</p>\n</footer>\n'

    def _reference(self, row: Reference) -> str:
        words = self._words
        licences = "; ".join(licence.spdx or licence.told for licence in row.licences) or words["no_licence"]
        told = row.citation or row.title or words["no_reference"]
        return f"<b><bdi>{_text(row.source)}</bdi></b>: {_text(told)} <i>{_text(licences)}</i>"


def _begin(title: str, words: DatasetWords) -> str:
    style = resources.files(__package__).joinpath("dataset_page.css").read_text("utf-8")
    return (
        f'<!DOCTYPE html>\n<html lang="{words.language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )


def _table(table: TextTable) -> str:
    rows = "".join(
        f"<tr>{''.join(_cell(cell, place >= table.texts) for place, cell in enumerate(row))}</tr>\n"
        for row in table.rows
    )
    titles = "".join(
        f'<th class="number">{_text(title)}</th>' if place >= table.texts else f"<th>{_text(title)}</th>"
        for place, title in enumerate(table.titles)
    )
    whole = f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n" if table.rows else ""
    return whole + "".join(f'<p class="dim">{_text(note)}</p>\n' for note in table.notes)


def _cell(cell: str, is_number: bool) -> str:
    return f'<td class="number">{_text(cell)}</td>' if is_number else f"<td><bdi>{_text(cell)}</bdi></td>"


def _pictures(pictures: Sequence[Picture], words: DatasetWords, *, large: bool = False) -> Iterator[str]:
    """The pictures of each label under its name."""
    for label, group in groupby(pictures, key=lambda picture: picture.label):
        name = words["unlabelled"] if label is None else label
        yield f'<h3><bdi>{_text(name)}</bdi></h3>\n<div class="sheet{" large" if large else ""}">\n'
        yield "".join(_picture(picture, name, words) for picture in group)
        yield "</div>\n"


def _picture(picture: Picture, label: str, words: DatasetWords) -> str:
    base = picture.path.rpartition("/")[2]
    if picture.jpeg is None:
        shown = f'<p class="gone">{_text(words["unreadable"])}</p>'
    else:
        data = base64.b64encode(picture.jpeg).decode("ascii")
        shown = f'<img src="data:image/jpeg;base64,{data}" alt="{_text(label)}">'
    number = f"<b>{picture.number}</b> " if picture.number else ""
    told = f'<p class="name" title="{_text(picture.path)}">{number}<bdi>{_text(base)}</bdi></p>'
    return f"<article>{shown}{told}</article>\n"


def _caption(text: str) -> str:
    return f"<figcaption>{_text(text)}</figcaption>\n"


def _list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(text)}</li>\n" for text in texts)
    return f"<ul>\n{items}</ul>\n" if items else ""


def _text(text: str) -> str:
    """Text from outside as text of the page and of an attribute: no markup, nothing that steers."""
    return html.escape(printable(text), quote=True)
