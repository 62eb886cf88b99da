"""Plots of a dataset as inline SVG: no script, no style of their own, colours by the classes of the page.

Each is drawn 460 units wide; all text is escaped here. Colours c0 to c7 are those of ``dataset_page.css``.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from irmsia.app.printable import printable

WIDTH = 460
COLOURS = 8
"""So many classes have a colour of their own; the others share the last."""

_LABEL, _VALUE = 150, 62
_BAR, _STEP = 16, 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 40
_HEIGHT = 260
_LONGEST = 22


def bars(rows: Sequence[tuple[str, float, str]], about: str) -> str:
    """Horizontal bars: (label, value, text behind the bar), the longest value over the whole width."""
    most = max((value for _, value, _ in rows), default=1.0) or 1.0
    room = WIDTH - _LABEL - _VALUE
    marks = []
    for place, (label, value, text) in enumerate(rows):
        y, length = place * _STEP + 4, max(1.0, room * value / most)
        marks.append(_text(_LABEL - 8, y + 12, _short(label), "end", title=label))
        marks.append(
            f'<rect class="{colour(place)}" x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
        )
        marks.append(_text(_LABEL + length + 6, y + 12, text, "start", dim=True))
    return _svg(len(rows) * _STEP + 8, marks, about)


def stacked(rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], about: str) -> str:
    """One bar a row, its shares side by side in the colours of ``names``: they sum to the whole width."""
    room, marks = WIDTH - _LABEL - 8, []
    for place, (label, values) in enumerate(rows):
        y, x, total = place * _STEP + 4, float(_LABEL), sum(values) or 1.0
        marks.append(_text(_LABEL - 8, y + 12, _short(label), "end", title=label))
        for number, (name, value) in enumerate(zip(names, values, strict=True)):
            width = room * value / total
            told = html.escape(printable(f"{name}: {100 * value / total:.1f} %"))
            marks.append(
                f'<rect class="{colour(number)}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}">'
                f"<title>{told}</title></rect>"
            )
            x += width
    return _svg(len(rows) * _STEP + 8, marks, about)


def scatter(points: Sequence[tuple[float, float, int, int]], x_label: str, y_label: str, about: str) -> str:
    """Dots (x, y, images, class); the area grows with the logarithm of the images."""
    if not points:
        return ""
    axes = _Axes((0, max(x for x, *_ in points) * 1.05), (0, max(y for _, y, *_ in points) * 1.05))
    marks = axes.draw(x_label, y_label)
    seen: Counter[tuple[float, float]] = Counter()
    for x, y, count, number in sorted(points, key=lambda point: -point[2]):
        # Classes at one place stay visible: each later one is a smaller disc on the earlier ones.
        radius = min(2.2 + 1.1 * math.log2(count), 11) * 0.8 ** seen[x, y]
        seen[x, y] += 1
        marks.append(
            f'<circle class="{colour(number)} dot" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="{radius:.1f}"/>'
        )
    return _svg(_HEIGHT, marks, about)


def curves(
    series: Sequence[Sequence[float]], x_range: tuple[float, float], x_label: str, y_label: str, about: str
) -> str:
    """Histograms as stepped lines over one another: one a class, each of shares over equal bins of ``x_range``."""
    most = max((share for shares in series for share in shares), default=0.0)
    if not most:
        return ""
    axes = _Axes(x_range, (0, most * 1.08))
    marks = axes.draw(x_label, y_label, percent=True)
    for number, shares in enumerate(series):
        step = (x_range[1] - x_range[0]) / len(shares)
        path = [f"M{axes.x(x_range[0]):.1f} {axes.y(0):.1f}"]
        for place, share in enumerate(shares):
            path.append(f"V{axes.y(share):.1f}H{axes.x(x_range[0] + (place + 1) * step):.1f}")
        marks.append(f'<path class="{colour(number)} curve" d="{"".join(path)}V{axes.y(0):.1f}"/>')
    return _svg(_HEIGHT, marks, about)


def columns(rows: Sequence[tuple[str, float]], x_label: str, y_label: str, about: str) -> str:
    """Upright bars with their names below."""
    if not rows:
        return ""
    axes = _Axes((0, len(rows)), (0, max(value for _, value in rows) * 1.08))
    marks = axes.draw(x_label, y_label, x_ticks=False)
    for place, (name, value) in enumerate(rows):
        left, right, top = axes.x(place + 0.12), axes.x(place + 0.88), axes.y(value)
        height = axes.y(0) - top
        marks.append(
            f'<rect class="c0" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.1f}"/>'
        )
        marks.append(_text((left + right) / 2, _HEIGHT - _BOTTOM + 14, name, "middle", dim=True))
    return _svg(_HEIGHT, marks, about)


def legend(names: Sequence[str]) -> str:
    """The classes with their colours, as a line of the page."""
    items = "".join(
        f'<span><i class="swatch {colour(place)}"></i><bdi>{html.escape(printable(name))}</bdi></span>'
        for place, name in enumerate(names)
    )
    return f'<p class="legend">{items}</p>\n'


def colour(number: int) -> str:
    """The style class of the ``number``-th class."""
    return f"c{min(number, COLOURS - 1)}"


class _Axes:
    """From data to units of the drawing, and the frame with its numbers."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._x, self._y = x_range, y_range

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1.0)

    def y(self, value: float) -> float:
        low, high = self._y
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / ((high - low) or 1.0)

    def draw(self, x_label: str, y_label: str, *, x_ticks: bool = True, percent: bool = False) -> list[str]:
        left, right, bottom = _LEFT, WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        marks = []
        for value in _ticks(*self._y):
            height = self.y(value)
            told = f"{100 * value:g} %" if percent else f"{value:g}"
            marks.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}"/>')
            marks.append(_text(left - 6, height + 4, told, "end", dim=True))
        for value in _ticks(*self._x) if x_ticks else ():
            marks.append(
                f'<line class="grid" x1="{self.x(value):.1f}" x2="{self.x(value):.1f}" y1="{_TOP}" y2="{bottom}"/>'
            )
            marks.append(_text(self.x(value), bottom + 14, f"{value:g}", "middle", dim=True))
        marks.append(_text((left + right) / 2, _HEIGHT - 7, x_label, "middle"))
        middle = (_TOP + bottom) / 2
        marks.append(f'<g transform="translate(11 {middle:.0f}) rotate(-90)">{_text(0, 0, y_label, "middle")}</g>')
        return marks


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, about five."""
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(width / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if width / (step * factor) <= 6)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def _text(x: float, y: float, content: str, anchor: str, *, dim: bool = False, title: str = "") -> str:
    told = f"<title>{html.escape(printable(title))}</title>" if title else ""
    style = ' class="faint"' if dim else ""
    shown = html.escape(printable(content))
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{shown}{told}</text>'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _svg(height: float, marks: Iterable[str], about: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{html.escape(printable(about), quote=True)}">'
        f"{''.join(marks)}</svg>\n"
    )
