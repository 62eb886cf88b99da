"""Painting phantoms with the four operations and square roots, which IEEE 754 rounds alike everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float64]
"""Coverage 0..1, (rows, columns)."""


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Centre (``x``, ``y``) and half axes in pixels; ``turn`` is the tangent of half the angle of rotation."""

    x: float
    y: float
    half_width: float
    half_height: float
    turn: float = 0.0

    def distance(self, x: Mask, y: Mask) -> Mask:
        """1 on the ellipse, less inside, for positions that broadcast."""
        scale = 1.0 + self.turn * self.turn
        cosine, sine = (1.0 - self.turn * self.turn) / scale, 2.0 * self.turn / scale
        across, down = x - self.x, y - self.y
        along = (across * cosine + down * sine) / self.half_width
        off = (down * cosine - across * sine) / self.half_height
        return np.asarray(np.sqrt(along * along + off * off))

    def grown(self, margin: float) -> Ellipse:
        """The same with both half axes longer by ``margin`` pixels (shorter when negative), at least half a pixel."""
        width, height = max(self.half_width + margin, 0.5), max(self.half_height + margin, 0.5)
        return Ellipse(self.x, self.y, width, height, self.turn)

    def holds(self, x: float, y: float) -> bool:
        """Whether a position lies inside."""
        return bool(self.distance(np.float64(x), np.float64(y)) <= 1.0)  # type: ignore[arg-type]


class Canvas:
    """Values in the display range 0..1 (or whatever the scene means by them), painted layer over layer."""

    def __init__(self, rows: int, columns: int, value: float) -> None:
        self.rows, self.columns = rows, columns
        self.y: Mask = np.arange(rows, dtype=np.float64)[:, None]
        self.x: Mask = np.arange(columns, dtype=np.float64)[None, :]
        self.values: NDArray[np.float64] = np.full((rows, columns), value)

    def ellipse(self, shape: Ellipse, *, edge: float = 1.5) -> Mask:
        """Coverage of an ellipse whose edge is ``edge`` pixels soft."""
        depth = (1.0 - shape.distance(self.x, self.y)) * min(shape.half_width, shape.half_height)
        return _soft(depth, edge)

    def box(self, left: float, top: float, right: float, bottom: float) -> Mask:
        """Coverage of an upright rectangle, given as fractions of the canvas."""
        across = np.minimum(self.x - left * self.columns, right * self.columns - self.x)
        down = np.minimum(self.y - top * self.rows, bottom * self.rows - self.y)
        return _soft(np.minimum(across, down), 1.5)

    def paint(self, where: Mask, value: float | NDArray[np.float64]) -> None:
        """Lay ``value`` over what is there, as far as ``where`` covers it."""
        self.values += where * (value - self.values)

    def add(self, where: Mask, amount: float | NDArray[np.float64]) -> None:
        """Add ``amount`` as far as ``where`` covers."""
        self.values += where * amount


def _soft(depth: Mask, edge: float) -> Mask:
    return np.asarray(np.clip(depth / edge + 0.5, 0.0, 1.0))


def paint_marks(canvas: Canvas, dark: float, bright: float) -> None:
    """An F at the upper left and a five-step wedge at the right, darkest on top: any mirror or turn shows."""
    for box in ((0.045, 0.05, 0.065, 0.15), (0.045, 0.05, 0.115, 0.068), (0.045, 0.092, 0.095, 0.110)):
        canvas.paint(canvas.box(*box), bright)
    for step in range(5):
        top = 0.16 + 0.05 * step
        canvas.paint(canvas.box(0.93, top, 0.97, top + 0.05), dark + (bright - dark) * (step + 1) / 5.0)
