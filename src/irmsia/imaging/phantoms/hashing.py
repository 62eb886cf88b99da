"""Random numbers from an integer hash: bit-identical on every machine and with every version of numpy.

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_FRACTION = float(1 << 53)


def mix(value: int) -> int:
    """Hash of one 64-bit integer."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def mix_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`mix` of each element."""
    mixed = values + np.uint64(_GOLDEN)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_FIRST)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
    hashed: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashed


class Draws:
    """A stream of numbers that depends on its seed alone."""

    def __init__(self, seed: int) -> None:
        self._state = mix(seed & _MASK)

    def integer(self) -> int:
        """The next 64-bit integer."""
        self._state = mix(self._state)
        return self._state

    def uniform(self, low: float, high: float) -> float:
        """The next number in [low, high)."""
        return low + (high - low) * ((self.integer() >> 11) / _FRACTION)

    def choice(self, count: int) -> int:
        """The next of 0 .. count - 1."""
        return self.integer() % count


def white_noise(seed: int, rows: int, columns: int) -> NDArray[np.float64]:
    """Independent noise (rows, columns), nearly normal: mean 0, standard deviation 1, never beyond 5.

    Each value is the sum of the eight bytes of a hash, scaled.
    """
    base = np.uint64(mix(seed & _MASK))
    hashed = mix_array(np.arange(rows * columns, dtype=np.uint64) ^ base)
    total = hashed.view(np.uint8).reshape(rows, columns, 8).sum(axis=2, dtype=np.int64)
    return np.asarray((total - 1020) / 209.0)


def smooth_noise(seed: int, rows: int, columns: int, *, cell: float) -> NDArray[np.float64]:
    """Value noise (rows, columns) in -1..1: random values every ``cell`` pixels, smooth between."""
    row_place, row_weight = _between(rows, cell)
    column_place, column_weight = _between(columns, cell)
    shape = (int(row_place[-1]) + 2, int(column_place[-1]) + 2)
    base = np.uint64(mix((seed ^ 0x5EED) & _MASK))
    hashed = mix_array(np.arange(shape[0] * shape[1], dtype=np.uint64) ^ base)
    lattice = (hashed >> np.uint64(11)).astype(np.float64).reshape(shape) / _FRACTION * 2.0 - 1.0
    weight = row_weight[:, None]
    along_rows = lattice[row_place] * (1.0 - weight) + lattice[row_place + 1] * weight
    return np.asarray(
        along_rows[:, column_place] * (1.0 - column_weight) + along_rows[:, column_place + 1] * column_weight
    )


def _between(extent: int, cell: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    place = np.arange(extent, dtype=np.float64) / cell
    whole = np.floor(place)
    part = place - whole
    return whole.astype(np.int64), part * part * (3.0 - 2.0 * part)
