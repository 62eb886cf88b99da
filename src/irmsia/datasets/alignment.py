"""Decides how much alike two pictures are: aligned by an affine map, tones matched, then normalised correlation.

The map is found by the enhanced correlation coefficient (Evangelidis and Psarakis, IEEE TPAMI 30, 2008). What is then
correlated is a band of the pictures' frequencies: coarse shape, which all heads and all chests share, and noise, which
re-encoding changes, stay out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.duplicates import Grey

Placement = NDArray[np.float64]
"""(2, 3) affine map from places (x, y) of the inner picture to places of the outer one, both 0..1 over the sides."""

_EPSILON = 1e-4
_SMOOTHING = 5
_LEAST_OVERLAP = 0.6
_SCALES = (0.5, 1.6)
_MOST_SHEAR = 0.12
_RIM = 9
_NEIGHBOURHOODS = 16
_FAINT = 0.2
_HALF = np.array([0.5, 0.5])


@dataclass(frozen=True, slots=True)
class Band:
    """Structures between two sizes, as standard deviations of Gaussians in pixels of a square of ``side`` pixels.

    ``even``: strong edges, such as a skull's, are weakened to what surrounds them, so that they do not decide alone.
    """

    side: int
    finest: float
    coarsest: float
    even: bool = True


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two aligned pictures are.

    Attributes:
        correlation: of the band over what both show, -1..1, after the outer picture's tones were matched.
        tone_change: mean absolute difference that matching the tones took away, grey levels of 255.
    """

    correlation: float
    tone_change: float


def align(outer: Grey, inner: Grey, start: Placement, *, steps: Sequence[tuple[int, int]]) -> Placement | None:
    """Refine where ``inner`` lies in ``outer``; null where no plausible map is found.

    Args:
        outer, inner: (H, W) uint8 of any sizes.
        start: a first guess, some hundredths of the side from the truth.
        steps: (side of the reduction in pixels, iterations), from coarse to fine.
    """
    placement = start
    for side, iterations in steps:
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, _EPSILON)
        first, second = _square(outer, side), _square(inner, side)
        warp, whole = _to_pixels(placement, side), np.full_like(first, 255)
        try:
            _, found = cv2.findTransformECC(second, first, warp, cv2.MOTION_AFFINE, criteria, whole, _SMOOTHING)
        except cv2.error:  # it did not converge, or a picture has no structure at this size
            return None
        placement = _from_pixels(np.asarray(found, np.float32), side)
        if not _is_plausible(placement):
            return None
    return placement


def compare(outer: Grey, inner: Grey, placement: Placement, band: Band) -> Likeness | None:
    """Correlate ``inner`` with what ``placement`` says is the same in ``outer``; null where they share too little."""
    first = _square(outer, band.side).astype(np.float32)
    second = _square(inner, band.side).astype(np.float32)
    seen, inside = _cut_out(first, placement, band.side)
    if inside.mean() < _LEAST_OVERLAP:
        return None
    matched = _match_tones(seen, second, inside)
    kernel = np.ones((_RIM, _RIM), np.uint8)
    core = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    one, two = _band(matched, band), _band(second, band)
    if band.even:
        one, two = _evened(one, two, core)
    correlation = _correlation(one[core], two[core])
    change = np.abs(seen - second)[inside].mean() - np.abs(matched - second)[inside].mean()
    return Likeness(correlation, max(0.0, float(change)))


def kept_share(placement: Placement) -> float:
    """Share of the larger picture that the smaller one shows, at most 1."""
    area = abs(float(np.linalg.det(placement[:, :2])))
    return min(area, 1 / area)


def _square(grey: Grey, side: int) -> Grey:
    if grey.shape == (side, side):
        return grey
    method = cv2.INTER_AREA if min(grey.shape) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (side, side), interpolation=method), np.uint8)


def _to_pixels(placement: Placement, side: int) -> NDArray[np.float32]:
    """The same map between the centres of pixels."""
    pixels = placement.copy()
    pixels[:, 2] = placement[:, 2] * side + placement[:, :2] @ _HALF - 0.5
    return pixels.astype(np.float32)


def _from_pixels(pixels: NDArray[np.float32], side: int) -> Placement:
    placement = pixels.astype(np.float64)
    placement[:, 2] = (placement[:, 2] + 0.5 - placement[:, :2] @ _HALF) / side
    return placement


def _is_plausible(placement: Placement) -> bool:
    """No fold, no strong shear: copies are shifted, scaled, and turned by very little."""
    if not np.isfinite(placement).all():
        return False
    scales = np.diag(placement)
    shears = np.abs(placement[[0, 1], [1, 0]])
    return bool((scales >= _SCALES[0]).all() and (scales <= _SCALES[1]).all() and (shears <= _MOST_SHEAR).all())


def _cut_out(
    outer: NDArray[np.float32], placement: Placement, side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The outer picture in the inner one's frame, and where it has something to show."""
    warp, size, flags = _to_pixels(placement, side), (side, side), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(outer, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(outer), warp, size, flags=flags) > 0.99
    return np.asarray(seen, np.float32), inside


def _match_tones(
    seen: NDArray[np.float32], wanted: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Greys mapped so that both distributions agree: undoes brightness, contrast and gamma."""
    levels = np.rint(seen).astype(np.uint8)
    own, other = _ranks(levels[inside]), _ranks(np.rint(wanted[inside]).astype(np.uint8))
    table = np.interp(own, other, np.arange(256)).astype(np.float32)
    return np.asarray(cv2.LUT(levels, table), np.float32)


def _ranks(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """For each of 256 grey levels the share of pixels that are darker, ties counted by half; strictly rising."""
    counts = np.bincount(levels.ravel(), minlength=256)
    return np.asarray((np.cumsum(counts) - counts / 2) / levels.size + np.arange(256) * 1e-9)


def _band(values: NDArray[np.float32], band: Band) -> NDArray[np.float32]:
    fine = cv2.GaussianBlur(values, (0, 0), band.finest)
    return np.asarray(fine - cv2.GaussianBlur(values, (0, 0), band.coarsest), np.float32)


def _evened(
    first: NDArray[np.float32], second: NDArray[np.float32], core: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both divided by the strength they have together nearby, faint places not blown up."""
    power = (np.square(first) + np.square(second)) / 2
    near = np.sqrt(cv2.GaussianBlur(power, (0, 0), len(power) / _NEIGHBOURHOODS))
    strength = near + _FAINT * np.sqrt(power[core].mean() if core.any() else 0.0) + 1e-6
    return np.asarray(first / strength, np.float32), np.asarray(second / strength, np.float32)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if not first.size:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / scale if scale > 1e-3 else 0.0
