"""Pairs of pictures side by side on one sheet: what a leak looks like."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.duplicates import Grey
from irmsia.datasets.leaks import Leak, LeakKind
from irmsia.errors import InputError

MOST_PAIRS = 60
"""More do not fit on a sheet that can be looked at."""

_TILE = 220
_GAP = 6
_LINE = 17
_LINES = 5
_COLUMNS = 3
_MARGIN = 14
_HEAD = 46
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SIZE, _HEAD_SIZE = 0.42, 0.6
_PAPER, _INK, _DIM = (250, 250, 250), (30, 30, 30), (110, 110, 110)
_RED, _AMBER = (40, 40, 200), (20, 120, 190)
_MIRRORS = ("", "left-right", "top-bottom", "turned by 180")

Canvas = NDArray[np.uint8]


def draw_sheet(
    leaks: Sequence[Leak],
    read: Callable[[str], Grey],
    *,
    parts: Mapping[str, str] | None = None,
    labels: Mapping[str, str | None] | None = None,
    title: str = "",
) -> Canvas:
    """Draw up to 60 pairs: both pictures, kind, correlation, names, parts and labels; (H, W, 3) uint8, blue first.

    Args:
        leaks: in the order in which they are drawn.
        read: gives the picture of a path, (H, W) uint8; one that cannot be read is drawn as an empty frame.
        parts: path -> part, written under a picture where it is known.
        labels: path -> label, likewise.
        title: the first line; the number of pairs follows.
    """
    shown = leaks[:MOST_PAIRS]
    cells = [_draw_pair(leak, read, parts or {}, labels or {}) for leak in shown]
    height, width = _LINES * _LINE + _TILE + _GAP, 2 * _TILE + _GAP
    rows = max(1, -(-len(cells) // _COLUMNS))
    columns = min(_COLUMNS, max(1, len(cells)))
    sheet = _paper(_HEAD + rows * (height + _MARGIN) + _MARGIN, columns * (width + _MARGIN) + _MARGIN)
    more = f", the first {len(shown)} shown" if len(leaks) > len(shown) else ""
    head = f"{title}: {len(leaks)} pairs{more}" if title else f"{len(leaks)} pairs{more}"
    _write(sheet, head, (_MARGIN, 30), sheet.shape[1] - 2 * _MARGIN, size=_HEAD_SIZE)
    for number, cell in enumerate(cells):
        row, column = divmod(number, _COLUMNS)
        top, left = _HEAD + row * (height + _MARGIN), _MARGIN + column * (width + _MARGIN)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _draw_pair(
    leak: Leak, read: Callable[[str], Grey], parts: Mapping[str, str], labels: Mapping[str, str | None]
) -> Canvas:
    cell = _paper(_LINES * _LINE + _TILE + _GAP, 2 * _TILE + _GAP)
    colour = _RED if leak.is_copy else _AMBER
    _write(cell, _describe(leak), (2, 12), cell.shape[1] - 4, colour=colour)
    for number, path in enumerate((leak.first, leak.second)):
        left = number * (_TILE + _GAP)
        cell[_LINE : _LINE + _TILE, left : left + _TILE] = _tile(path, read)
        under = _LINE + _TILE + 13
        folder, _, name = path.rpartition("/")
        _write(cell, name, (left + 2, under), _TILE - 4)
        _write(cell, folder, (left + 2, under + _LINE), _TILE - 4, colour=_DIM)
        label = labels.get(path)
        about = [parts.get(path, ""), "" if label is None else f"label {label}"]
        differ = None not in (labels.get(leak.first), labels.get(leak.second)) and label != labels.get(
            leak.second if number == 0 else leak.first
        )
        text = ", ".join(word for word in about if word)
        _write(cell, text, (left + 2, under + 2 * _LINE), _TILE - 4, colour=_RED if differ else _DIM)
    return cell


def _describe(leak: Leak) -> str:
    facts = [leak.kind.value.lower().replace("reencoded", "re-encoded")]
    if leak.correlation is not None:
        facts.append(f"correlation {leak.correlation:.3f}")
    if leak.agreement is not None and leak.kind is not LeakKind.EXACT:
        facts.append(f"fine {leak.agreement:.3f}")
    if leak.mirror:
        facts.append(_MIRRORS[leak.mirror])
    if leak.kind is LeakKind.CROPPED or (leak.mirror and leak.kept < 0.97):
        facts.append(f"{100 * leak.kept:.0f} % kept")
    return ", ".join(facts)


def _tile(path: str, read: Callable[[str], Grey]) -> Canvas:
    """The picture as large as it fits, its shape kept, on black; a crossed frame where it cannot be read."""
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    try:
        grey = read(path)
    except InputError:
        cv2.line(tile, (0, 0), (_TILE, _TILE), _DIM, 1)
        cv2.line(tile, (0, _TILE), (_TILE, 0), _DIM, 1)
        return tile
    scale = _TILE / max(grey.shape)
    rows, columns = (max(1, round(extent * scale)) for extent in grey.shape)
    small = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (_TILE - rows) // 2, (_TILE - columns) // 2
    tile[top : top + rows, left : left + columns] = small[..., None]
    return tile


def _paper(height: int, width: int) -> Canvas:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _write(
    canvas: Canvas,
    text: str,
    place: tuple[int, int],
    width: int,
    *,
    colour: tuple[int, int, int] = _INK,
    size: float = _SIZE,
) -> None:
    cv2.putText(canvas, _fitted(text, width, size), place, _FONT, size, colour, 1, cv2.LINE_AA)


def _fitted(text: str, width: int, size: float) -> str:
    """The text in letters that the font has, its middle left out until it fits ``width`` pixels."""
    plain = "".join(
        letter if " " <= letter <= "~" else "?"
        for letter in unicodedata.normalize("NFKD", text[:400])
        if not unicodedata.combining(letter)
    )
    shown = plain
    for kept in range(len(plain), 0, -1):
        if cv2.getTextSize(shown, _FONT, size, 1)[0][0] <= width:
            break
        half = kept // 2
        shown = f"{plain[: kept - half]}..{plain[len(plain) - half :]}"
    return shown
