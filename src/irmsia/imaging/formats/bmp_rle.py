"""Run lengths of BMP files: pairs of count and value, escapes for line end, bitmap end, delta and literal runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError, TruncatedError

_MOST_PIXELS_A_BYTE = 128
_LINE_END, _BITMAP_END, _DELTA = 0, 1, 2


def decode_runs(packed: memoryview, rows: int, columns: int, *, half: bool) -> NDArray[np.uint8]:
    """Indices (rows, columns) in file order; pixels that a delta or an early end skips are 0.

    Args:
        packed: from the first run to the end of the file.
        rows: of the picture.
        columns: of the picture.
        half: two indices of 4 bits a byte instead of one of 8.

    Raises:
        TruncatedError: the bytes end before the end of the bitmap, with pixels missing.
        InconsistentHeaderError: a run leaves the picture, or no runs of that many bytes could fill it.
    """
    if rows * columns > len(packed) * _MOST_PIXELS_A_BYTE:  # before a small file makes a large picture
        raise InconsistentHeaderError(f"{len(packed)} bytes of runs cannot fill {rows} x {columns} pixels")
    return _Runs(packed, rows, columns, half=half).run()


class _Runs:
    def __init__(self, packed: memoryview, rows: int, columns: int, *, half: bool) -> None:
        self._packed = bytes(packed)
        self._rows, self._columns, self._half = rows, columns, half
        self._flat = bytearray(rows * columns)
        self._row = self._column = 0

    def run(self) -> NDArray[np.uint8]:
        at, packed = 0, self._packed
        while True:
            if at + 2 > len(packed):
                self._require_whole()
                break
            count, value = packed[at], packed[at + 1]
            at += 2
            if count:
                self._put(self._repeat(value, count))
            elif value == _BITMAP_END:
                break
            else:
                at = self._escape(value, at)
        return np.frombuffer(self._flat, np.uint8).reshape(self._rows, self._columns)

    def _escape(self, value: int, at: int) -> int:
        if value == _LINE_END:
            self._row, self._column = self._row + 1, 0
            return at
        size = 2 if value == _DELTA else (value + 1) // 2 if self._half else value
        if at + size > len(self._packed):
            raise TruncatedError("the BMP file ends inside its runs")
        if value == _DELTA:
            self._column += self._packed[at]
            self._row += self._packed[at + 1]
            return at + 2
        literal = self._packed[at : at + size]
        self._put(_nibbles(literal)[:value] if self._half else literal)
        return at + size + size % 2

    def _repeat(self, value: int, count: int) -> bytes:
        return (_nibbles(bytes([value])) * ((count + 1) // 2))[:count] if self._half else bytes([value]) * count

    def _put(self, run: bytes) -> None:
        if self._row >= self._rows or self._column + len(run) > self._columns:
            raise InconsistentHeaderError("a run of the BMP file leaves the picture")
        first = self._row * self._columns + self._column
        self._flat[first : first + len(run)] = run
        self._column += len(run)

    def _require_whole(self) -> None:
        """Without an end mark the last row must have been reached and filled."""
        last = (self._rows, 0) if self._column == 0 else (self._rows - 1, self._columns)
        if (self._row, self._column) != last:
            raise TruncatedError("the BMP file ends inside its runs")


def _nibbles(packed: bytes) -> bytes:
    return bytes(part for byte in packed for part in (byte >> 4, byte & 15))
