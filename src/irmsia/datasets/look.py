"""Small descriptors of how a picture looks: what proposes pairs of pictures that may be copies of one another.

A descriptor is a reduction of a window of the picture, free of brightness and contrast. A window cuts something off
each side, so that the descriptor of a cropped copy equals that of one window of its original; a mirrored copy equals
its original after it is mirrored back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.duplicates import Grey

Floats = NDArray[np.float32]

SMALL_SIDE = 128
"""Side of the reduction that alignment works on, pixels."""

_THUMB_SIDE = 32
_SOFT_LEVELS = 6.0
_LEAST_DEVIATION = 1.5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of a picture after cutting shares off its sides, 0..1 each."""

    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0

    @property
    def area(self) -> float:
        """Share of the picture that is left."""
        return (1 - self.left - self.right) * (1 - self.top - self.bottom)

    def placement(self) -> NDArray[np.float64]:
        """(2, 3): from places (x, y) of the window, 0..1, to places of the whole picture, 0..1."""
        return np.array([[1 - self.left - self.right, 0, self.left], [0, 1 - self.top - self.bottom, self.top]])


class WindowSet:
    """Windows that together stand for every crop of at least ``least_area``, and their descriptors.

    Args:
        cuts: shares that may be cut off a side.
        side: of a descriptor, cells; it has ``side ** 2`` values.
        least_area: share of the picture that a window leaves at least.
    """

    def __init__(self, cuts: Sequence[float], side: int, least_area: float) -> None:
        pairs = [(one, two) for one in cuts for two in cuts if one + two <= max(cuts) + _ROUNDING]
        windows = [Window(left, right, top, bottom) for left, right in pairs for top, bottom in pairs]
        self.windows = tuple(window for window in windows if window.area >= least_area)
        self.side = side

    @cached_property
    def _operators(self) -> dict[tuple[float, float], Floats]:
        cuts = {(window.left, window.right) for window in self.windows}
        cuts |= {(window.top, window.bottom) for window in self.windows}
        return {cut: _area_operator(cut[0], cut[1], self.side) for cut in sorted(cuts)}

    def describe(self, thumbs: Floats) -> Iterator[Floats]:
        """Yield (n, side ** 2) unit vectors, one array a window, of (n, 32, 32) thumbnails."""
        rows = {cut: np.matmul(operator, thumbs) for cut, operator in self._operators.items()}
        for window in self.windows:
            cells = np.matmul(rows[window.top, window.bottom], self._operators[window.left, window.right].T)
            yield unit_vectors(cells.reshape(len(thumbs), -1))


def reduce_picture(grey: Grey) -> Grey:
    """Return the (128, 128) uint8 reduction of a grey picture (H, W)."""
    return np.asarray(cv2.resize(grey, (SMALL_SIDE, SMALL_SIDE), interpolation=_method(grey, SMALL_SIDE)), np.uint8)


def make_thumb(small: Grey) -> Floats:
    """Return the (32, 32) float32 thumbnail that descriptors are made of; zero where the picture has no structure.

    The mean of two pictures, each of mean 0 and deviation 1: the greys, and their ranks among the picture's greys.
    Ranks do not know of a changed gamma, greys do not take the noise of a black background for structure.
    """
    thumb = cv2.resize(small, (_THUMB_SIDE, _THUMB_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if thumb.std() < _LEAST_DEVIATION:
        return np.zeros_like(thumb)
    return np.asarray(0.5 * _standardised(thumb) + 0.5 * _standardised(_soft_ranks(thumb)), np.float32)


def flip(pictures: NDArray[np.generic], mirror: int) -> NDArray[np.generic]:
    """Return (..., H, W) pictures mirrored: 1 left-right, 2 top-bottom, 3 both, 0 as they are."""
    pictures = pictures[..., ::-1] if mirror & 1 else pictures
    return pictures[..., ::-1, :] if mirror & 2 else pictures


def unit_vectors(values: Floats) -> Floats:
    """Return the rows (n, d) with mean 0 and length 1; a constant row becomes 0."""
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-4), np.float32)


def _method(grey: Grey, side: int) -> int:
    """Shrink by areas, enlarge linearly."""
    return cv2.INTER_AREA if min(grey.shape) >= side else cv2.INTER_LINEAR


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / (values.std() + 1e-6), np.float32)


def _soft_ranks(thumb: Floats) -> Floats:
    """Share of cells that are darker, the distribution blurred by some grey levels."""
    counts = np.histogram(thumb, 256, (0, 256))[0].astype(np.float64)
    offsets = np.arange(-20, 21)
    blurred = np.convolve(counts, np.exp(-(offsets**2) / (2 * _SOFT_LEVELS**2)), "same")
    shares = np.cumsum(blurred) / blurred.sum()
    return np.asarray(np.interp(thumb, np.arange(256) + 0.5, shares), np.float32)


def _area_operator(before: float, after: float, cells: int) -> Floats:
    """(cells, 32): means over equal stretches of what is left when both ends are cut."""
    edges = np.linspace(before * _THUMB_SIDE, (1 - after) * _THUMB_SIDE, cells + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(_THUMB_SIDE)
    weights = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
