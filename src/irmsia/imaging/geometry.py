"""Where the cells of a resized picture lie in the stored image, and EXIF orientation both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

# orientation -> (transpose, then mirror rows, then mirror columns): stored -> as seen (EXIF 2.3, tag 0x0112)
_STEPS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def apply_orientation(array: NDArray[T], orientation: int) -> NDArray[T]:
    """Stored -> as seen, over the first two axes; a view. Values outside 1..8 mean 1, as EXIF readers take them."""
    transpose, rows, columns = _STEPS.get(orientation, _STEPS[1])
    return _mirror(array.swapaxes(0, 1) if transpose else array, rows, columns)


def undo_orientation(array: NDArray[T], orientation: int) -> NDArray[T]:
    """As seen -> stored, over the first two axes; a view. The inverse of `apply_orientation`."""
    transpose, rows, columns = _STEPS.get(orientation, _STEPS[1])
    mirrored = _mirror(array, rows, columns)
    return mirrored.swapaxes(0, 1) if transpose else mirrored


def _mirror(array: NDArray[T], rows: bool, columns: bool) -> NDArray[T]:
    return array[:: -1 if rows else 1, :: -1 if columns else 1]


@dataclass(frozen=True, slots=True)
class Grid:
    """Centre of cell (r, c) lies at (row0 + r * row_step, column0 + c * column_step), pixels of the stored image.

    The centre of the image's first pixel is (0, 0).
    """

    row0: float
    column0: float
    row_step: float
    column_step: float

    def coarsened(self, row_factor: float, column_factor: float) -> Grid:
        """The grid of cells that each cover ``row_factor`` x ``column_factor`` cells of this one."""
        return Grid(
            row0=self.row0 + (row_factor - 1.0) / 2.0 * self.row_step,
            column0=self.column0 + (column_factor - 1.0) / 2.0 * self.column_step,
            row_step=self.row_step * row_factor,
            column_step=self.column_step * column_factor,
        )

    def cell_at(self, row: float, column: float) -> tuple[float, float]:
        """Fractional cell (r, c) whose centre is the stored position (row, column)."""
        return (row - self.row0) / self.row_step, (column - self.column0) / self.column_step


@dataclass(frozen=True, slots=True)
class Placement:
    """A picture of ``rows`` x ``columns`` (as seen), now ``height`` x ``width`` at (``top``, ``left``) of a square."""

    rows: int
    columns: int
    height: int
    width: int
    top: int
    left: int
    size: int

    def grid(self, orientation: int) -> Grid:
        """Grid of the square after `undo_orientation`, in pixels of the stored image."""
        transpose, mirror_rows, mirror_columns = _STEPS.get(orientation, _STEPS[1])
        along_rows = _axis(self.rows, self.height, self._first(self.top, self.height, mirror_rows))
        along_columns = _axis(self.columns, self.width, self._first(self.left, self.width, mirror_columns))
        stored = (along_columns, along_rows) if transpose else (along_rows, along_columns)
        return Grid(stored[0][0], stored[1][0], stored[0][1], stored[1][1])

    def _first(self, first: int, extent: int, mirrored: bool) -> int:
        return self.size - extent - first if mirrored else first


def fit(rows: int, columns: int, size: int, *, keep_aspect: bool) -> Placement:
    """Where a picture goes in a square of ``size``: stretched over it, or in its middle with its aspect kept."""
    longest = max(rows, columns)
    height = max(1, round(rows * size / longest)) if keep_aspect else size
    width = max(1, round(columns * size / longest)) if keep_aspect else size
    return Placement(rows, columns, height, width, (size - height) // 2, (size - width) // 2, size)


def _axis(extent: int, resized: int, first: int) -> tuple[float, float]:
    step = extent / resized
    return (0.5 - first) * step - 0.5, step
