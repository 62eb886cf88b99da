"""Axes and marks of one panel as SVG elements. Coordinates of the data are mapped to pixels here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import ArrayLike

INK, FAINT, GRID = "#222222", "#6b6b6b", "#e4e4e4"
BLUE = "#0072B2"
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind readers as well. (Okabe and Ito, 2008.)"""

WIDTH, HEIGHT = 320, 316
_LEFT, _TOP, _PLOT = 52, 34, 224
_LINE = 14
_NEAR = 0.5


def text(x: float, y: float, content: str, *, size: float = 11, anchor: str = "middle", colour: str = INK) -> str:
    """A line of text; ``anchor``: start, middle or end."""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}">{escape(content)}</text>'


def legend(x: float, y: float, rows: Sequence[tuple[str, str]], *, upwards: bool = False) -> list[str]:
    """Coloured lines with a label; the first at (x, y), the others below, or above where ``upwards``."""
    step = -_LINE if upwards else _LINE
    marks = []
    for number, (colour, label) in enumerate(reversed(rows) if upwards else rows):
        height = y + number * step
        marks.append(
            f'<line x1="{x:.1f}" y1="{height - 3.5:.1f}" x2="{x + 14:.1f}" y2="{height - 3.5:.1f}" stroke="{colour}" '
            'stroke-width="2.5"/>'
        )
        marks.append(text(x + 19, height, label, size=10, anchor="start"))
    return marks


@dataclass
class Panel:
    """One square plot with a title and two axes; ``marks`` are drawn in the order added."""

    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    marks: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.x_range
        return _LEFT + _PLOT * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y_range
        return _TOP + _PLOT * (1 - (value - low) / (high - low))

    def axes(self, *, x_ticks: Sequence[float] | None = None, y_ticks: Sequence[float] | None = None) -> Panel:
        """Grid, numbers and labels; five steps where no ticks are told."""
        for value in _steps(self.x_range) if x_ticks is None else x_ticks:
            self._line((value, self.y_range[0]), (value, self.y_range[1]), GRID)
            self.marks.append(text(self.x(value), _TOP + _PLOT + 14, f"{value:g}", size=10, colour=FAINT))
        for value in _steps(self.y_range) if y_ticks is None else y_ticks:
            self._line((self.x_range[0], value), (self.x_range[1], value), GRID)
            self.marks.append(text(_LEFT - 6, self.y(value) + 3.5, f"{value:g}", size=10, anchor="end", colour=FAINT))
        self.marks.append(text(_LEFT + _PLOT / 2, _TOP + _PLOT + 31, self.x_label))
        middle = _TOP + _PLOT / 2
        turned = text(0, 0, self.y_label)
        self.marks.append(f'<g transform="translate(13 {middle:.1f}) rotate(-90)">{turned}</g>')
        return self

    def subtitle(self, content: str) -> None:
        """A small line below the label of the x axis."""
        self.marks.append(text(_LEFT + _PLOT / 2, _TOP + _PLOT + 45, content, size=9, colour=FAINT))

    def line(self, points: ArrayLike, colour: str, *, dashed: bool = False, width: float = 1.8) -> None:
        """A line through ``points`` (n, 2), cut off at the plot's edge; points of one half pixel are drawn once."""
        low, high = self.y_range
        near = np.asarray(points, dtype=np.float64).clip((-np.inf, 2 * low - high), (np.inf, 2 * high - low))
        spots = _apart([(self.x(x), self.y(y)) for x, y in near])
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dash} '
            'stroke-linejoin="round" clip-path="url(#plot)"/>'
        )

    def bar(self, x: tuple[float, float], y: tuple[float, float], colour: str, *, opacity: float = 1.0) -> None:
        """A filled rectangle between two corners in data coordinates."""
        left, right, top, bottom = self.x(x[0]), self.x(x[1]), self.y(max(y)), self.y(min(y))
        self.marks.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
            f'fill="{colour}" fill-opacity="{opacity:.3g}"/>'
        )

    def dot(self, x: float, y: float, colour: str, *, radius: float = 3.5) -> None:
        """A filled circle."""
        self.marks.append(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:g}" fill="{colour}"/>')

    def note(self, x: float, y: float, content: str, *, anchor: str = "middle", colour: str = INK) -> None:
        """Text at a point in data coordinates."""
        self.marks.append(text(self.x(x), self.y(y), content, size=10, anchor=anchor, colour=colour))

    def key(self, rows: Sequence[tuple[str, str]], *, bottom: bool = False, right: bool = False) -> None:
        """A legend inside the plot: top or bottom, left or in the right half."""
        height = _TOP + _PLOT - 10 if bottom else _TOP + 16
        self.marks += legend(_LEFT + (_PLOT * 0.42 if right else 10), height, rows, upwards=bottom)

    def to_svg(self, x: float, y: float) -> str:
        """The panel as a group at (x, y) of a sheet."""
        head = text(_LEFT, _TOP - 12, self.title, size=13, anchor="start")
        frame = (
            f'<rect x="{_LEFT}" y="{_TOP}" width="{_PLOT}" height="{_PLOT}" fill="none" stroke="{FAINT}" '
            'stroke-width="0.8"/>'
        )
        return f'<g transform="translate({x:g} {y:g})">{head}{"".join(self.marks)}{frame}</g>'

    def _line(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        self.marks.append(
            f'<line x1="{self.x(start[0]):.1f}" y1="{self.y(start[1]):.1f}" x2="{self.x(end[0]):.1f}" '
            f'y2="{self.y(end[1]):.1f}" stroke="{colour}" stroke-width="0.8"/>'
        )


def make_sheet(title: str, panels: Iterable[Panel], *, columns: int = 3) -> str:
    """Panels in rows under one title, as a whole SVG document on white."""
    cells = list(panels)
    width, height = columns * WIDTH, 40 + -(-len(cells) // columns) * HEIGHT
    drawn = [
        panel.to_svg(number % columns * WIDTH, 36 + number // columns * HEIGHT) for number, panel in enumerate(cells)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif">\n'
        f'<clipPath id="plot"><rect x="{_LEFT}" y="{_TOP}" width="{_PLOT}" height="{_PLOT}"/></clipPath>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f"{text(_LEFT, 26, title, size=16, anchor='start')}\n" + "\n".join(drawn) + "\n</svg>\n"
    )


def _steps(limits: tuple[float, float]) -> list[float]:
    return [round(float(value), 10) for value in np.linspace(*limits, 6)]


def _apart(spots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points at least half a pixel from the one kept before, and the last."""
    kept = list(spots[:1])
    for x, y in spots[1:]:
        if max(abs(x - kept[-1][0]), abs(y - kept[-1][1])) >= _NEAR:
            kept.append((x, y))
    return kept if not spots or kept[-1] == spots[-1] else [*kept, spots[-1]]
