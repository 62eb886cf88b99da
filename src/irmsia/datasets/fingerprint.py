"""What a picture alone tells of region and modality: a few dozen measures of a small grey copy, against known looks.

A look is a region and a modality, learnt from one or two collected sets: `fingerprints.json`, which
``python -m benchmarks.fingerprint`` makes and measures. A picture that lies farther from its nearest look than all but
few of the pictures that look was learnt from is like none of them, and the answer is "other": a picture of a region
that was never learnt can at best be refused, never named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.duplicates import Grey
from irmsia.errors import InternalError

Features = NDArray[np.float64]

VERSION = 1
SIDE = 64
"""Pixels along each side of the copy that is measured."""

_BINS = 16
_BORDER = 4
_STRIPS = 8
_DARK, _BRIGHT = 20.0, 235.0
_EDGE = 24.0
_ANGLES = 4
_LAGS = (1, 2, 4)
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Guess:
    """What the pixels say, and how far that can be trusted, 0..1 (`Look`); both 0 where they say "other"."""

    region: str
    modality: str
    region_confidence: float
    modality_confidence: float


UNSURE = Guess("other", "OTHER", 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Look:
    """Pictures of one region and modality.

    Attributes:
        region, modality: what they show.
        mean: (D,) of the standardised features.
        precision: (D, D) inverse of their covariance.
        farthest: squared Mahalanobis distance from which on a picture is none of them.
        region_confidence, modality_confidence: (r + 1) / (n + 2) for n sets that the look was not learnt from, in each
            of which the share r of the answers was right: a set is one experiment, however many pictures it holds.
        sources: the sets it was learnt from.
        images: how many pictures that were.
    """

    region: str
    modality: str
    mean: Features
    precision: Features
    farthest: float
    region_confidence: float
    modality_confidence: float
    sources: tuple[str, ...]
    images: int


@dataclass(frozen=True, slots=True)
class Looks:
    """All known looks, and the scale of the features."""

    looks: tuple[Look, ...]
    centre: Features
    scale: Features

    def guess(self, features: Features) -> Guess:
        """The nearest look, unless the picture is farther from it than its own pictures are."""
        scaled = (features - self.centre) / self.scale
        away = [_distance(scaled, look) / look.farthest for look in self.looks]
        nearest = int(np.argmin(away))
        if away[nearest] > 1:
            return UNSURE
        look = self.looks[nearest]
        return Guess(look.region, look.modality, look.region_confidence, look.modality_confidence)


def measure(grey: Grey) -> Features:
    """The fingerprint of a picture: (D,) measures that do not depend on its size.

    Of a 64 x 64 copy: histogram; dark and bright shares; the border and the corners; symmetry; what strips across and
    along hold; strength, share and direction of edges; noise; how alike neighbours are at 1, 2 and 4 pixels. And the
    aspect of the picture itself.

    Args:
        grey: (H, W) uint8, as a viewer shows it.
    """
    small = shrink(grey).astype(np.float64)
    parts = (
        _histogram(small),
        _border(small),
        _symmetry(small),
        _strips(small),
        _edges(small),
        _likeness(small),
        [float(np.clip(np.log2(grey.shape[1] / grey.shape[0]), -2, 2))],
    )
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def shrink(grey: Grey) -> Grey:
    """The (64, 64) uint8 copy of a picture (H, W)."""
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def fit_looks(
    pictures: Mapping[tuple[str, str], Sequence[tuple[str, Features]]],
    confidences: Mapping[tuple[str, str], tuple[float, float]],
    *,
    share: float,
    shrink: float,
) -> Looks:
    """Learn looks from measured pictures.

    Args:
        pictures: by (region, modality): the set each picture is of, and its features.
        confidences: by (region, modality): what was measured for its region and its modality; 0 where it is missing.
        share: of a look's own pictures that lie within its reach, 0..1.
        shrink: how far covariances are drawn towards their diagonal, 0..1.
    """
    everything = np.vstack([features for group in pictures.values() for _, features in group])
    centre, scale = everything.mean(axis=0), everything.std(axis=0) + _TINY
    looks = (_fit(name, group, (centre, scale), share, shrink) for name, group in sorted(pictures.items()))
    measured = (_with_confidence(look, *confidences.get((look.region, look.modality), (0.0, 0.0))) for look in looks)
    return Looks(tuple(measured), centre, scale)


def looks_to_json(looks: Looks) -> dict[str, Any]:
    """As a JSON object; symmetric matrices as their upper triangles, numbers to five digits."""
    upper = np.triu_indices(len(looks.centre))
    return {
        "version": VERSION,
        "centre": _rounded(looks.centre),
        "scale": _rounded(looks.scale),
        "looks": [
            {
                "region": look.region,
                "modality": look.modality,
                "sources": list(look.sources),
                "images": look.images,
                "region_confidence": look.region_confidence,
                "modality_confidence": look.modality_confidence,
                "farthest": float(f"{look.farthest:.5g}"),
                "mean": _rounded(look.mean),
                "precision": _rounded(look.precision[upper]),
            }
            for look in looks.looks
        ],
    }


def looks_from_json(values: Mapping[str, Any]) -> Looks:
    """The inverse of `looks_to_json`; `InternalError` where the data file is of another version."""
    if values["version"] != VERSION:
        raise InternalError("the table of fingerprints is of another version: make it again")
    centre = np.asarray(values["centre"])
    return Looks(
        tuple(_look(entry, len(centre)) for entry in values["looks"]),
        centre,
        np.asarray(values["scale"]),
    )


@cache
def known_looks() -> Looks:
    """The looks that the package brings."""
    return looks_from_json(json.loads(resources.files(__package__).joinpath("fingerprints.json").read_bytes()))


def _look(entry: Mapping[str, Any], size: int) -> Look:
    upper = np.zeros((size, size))
    upper[np.triu_indices(size)] = entry["precision"]
    return Look(
        region=entry["region"],
        modality=entry["modality"],
        mean=np.asarray(entry["mean"]),
        precision=upper + np.triu(upper, 1).T,
        farthest=float(entry["farthest"]),
        region_confidence=float(entry["region_confidence"]),
        modality_confidence=float(entry["modality_confidence"]),
        sources=tuple(entry["sources"]),
        images=int(entry["images"]),
    )


def _fit(
    name: tuple[str, str],
    group: Sequence[tuple[str, Features]],
    standard: tuple[Features, Features],
    share: float,
    shrink: float,
) -> Look:
    centre, scale = standard
    scaled = (np.vstack([features for _, features in group]) - centre) / scale
    mean = scaled.mean(axis=0)
    covariance = np.cov(scaled, rowvar=False)
    # Towards the diagonal, and not below a twentieth of the features' spread over all looks: what happens to be
    # constant in one set (its aspect, its border) must not refuse every picture of another.
    drawn = (1 - shrink) * covariance + shrink * np.diag(np.diag(covariance)) + 0.05 * np.eye(len(mean))
    precision = np.asarray(np.linalg.inv(drawn), dtype=np.float64)
    offsets = scaled - mean
    distances = np.einsum("ij,jk,ik->i", offsets, precision, offsets)
    return Look(
        *name,
        mean=mean,
        precision=precision,
        farthest=float(np.quantile(distances, share)),
        region_confidence=0.0,
        modality_confidence=0.0,
        sources=tuple(sorted({source for source, _ in group})),
        images=len(group),
    )


def _with_confidence(look: Look, region: float, modality: float) -> Look:
    return replace(look, region_confidence=round(region, 3), modality_confidence=round(modality, 3))


def _distance(scaled: Features, look: Look) -> float:
    offset = scaled - look.mean
    return float(offset @ look.precision @ offset)


def _rounded(values: Features) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _histogram(small: Features) -> Features:
    counts, _ = np.histogram(small, bins=_BINS, range=(0, 256))
    shares = counts / small.size
    entropy = -float((shares * np.log(shares + _TINY)).sum())
    # Square roots, so that a bin that is nearly empty still tells something.
    return np.append(np.sqrt(shares), [entropy, small.mean() / 255, small.std() / 255])


def _border(small: Features) -> list[float]:
    """The share of dark pixels along each side and over the corners, and how dark the border is beside the centre."""
    sides = (small[:_BORDER], small[-_BORDER:], small[:, :_BORDER], small[:, -_BORDER:])
    quarter = SIDE // 8
    corners = np.concatenate(
        [
            small[rows, columns].ravel()
            for rows in (slice(quarter), slice(-quarter, None))
            for columns in (slice(quarter), slice(-quarter, None))
        ]
    )
    ring = np.concatenate([side.ravel() for side in sides])
    centre = small[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    return [
        *(float((side < _DARK).mean()) for side in sides),
        float((corners < _DARK).mean()),
        float((small < _DARK).mean()),
        float((small > _BRIGHT).mean()),
        float(ring.mean() - centre.mean()) / 255,
    ]


def _symmetry(small: Features) -> list[float]:
    return [_correlation(small, small[:, ::-1]), _correlation(small, small[::-1])]


def _strips(small: Features) -> Features:
    """How bright each eighth of the rows and of the columns is, against the whole."""
    rows = small.reshape(_STRIPS, -1).mean(axis=1)
    columns = small.T.reshape(_STRIPS, -1).mean(axis=1)
    strips: Features = (np.concatenate([rows, columns]) - small.mean()) / (small.std() + 1)
    return strips


def _edges(small: Features) -> list[float]:
    across, down = cv2.Sobel(small, cv2.CV_64F, 1, 0) / 4, cv2.Sobel(small, cv2.CV_64F, 0, 1) / 4
    strength = np.hypot(across, down)
    angle = np.mod(np.arctan2(down, across), np.pi)
    directions, _ = np.histogram(angle, bins=_ANGLES, range=(0, np.pi), weights=strength)
    noise = np.abs(cv2.Laplacian(small, cv2.CV_64F)).mean()
    return [
        float(np.log1p(strength.mean())),
        float(np.log1p(strength.std())),
        float((strength > _EDGE).mean()),
        float(np.log1p(noise)),
        *(directions / (directions.sum() + 1)),
    ]


def _likeness(small: Features) -> list[float]:
    """Correlation of the picture with itself, moved along and across: speckle and text forget fast, lungs do not."""
    return [
        value
        for lag in _LAGS
        for value in (_correlation(small[:, lag:], small[:, :-lag]), _correlation(small[lag:], small[:-lag]))
    ]


def _correlation(first: Features, second: Features) -> float:
    one, other = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > _TINY else 0.0
