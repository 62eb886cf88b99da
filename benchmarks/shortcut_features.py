"""What a probe may look at: everything of a file but the picture's content."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

Features = dict[str, NDArray[np.float64]]

_BLACK = 12
"""Grey levels up to this count as padding; lossy compression leaves rests."""

_BORDER = 0.04
"""Share of the side that counts as border."""


def shortcut_features(content: bytes) -> Features:
    """Return the features of one PNG or JPEG file by name of their set.

    ``size``: rows, columns, aspect. ``bytes``: length of the file, and by pixel. ``borders``: padding a side, mean and
    spread of the border, corners. ``metadata``: what the header states (format, mode, quantisation, density).
    """
    with Picture.open(io.BytesIO(content)) as picture:
        grey = np.asarray(picture.convert("L"), np.float64)
        metadata = _metadata(picture)
    return {
        "size": _size(grey.shape),
        "bytes": np.array([len(content), len(content) / grey.size]),
        "borders": _borders(grey),
        "metadata": metadata,
    }


def _size(shape: tuple[int, ...]) -> NDArray[np.float64]:
    rows, columns = shape
    return np.array([rows, columns, rows / columns, rows * columns], np.float64)


def _metadata(picture: Picture.Image) -> NDArray[np.float64]:
    tables = getattr(picture, "quantization", None) or {}
    coarse = [float(sum(tables[index])) if index in tables else 0.0 for index in (0, 1)]
    density = picture.info.get("dpi") or picture.info.get("jfif_density") or (0, 0)
    return np.array(
        [
            picture.format == "JPEG",
            len(picture.getbands()),
            len(picture.info),
            "progressive" in picture.info,
            "exif" in picture.info,
            "icc_profile" in picture.info,
            float(density[0]),
            *coarse,
        ],
        np.float64,
    )


def _borders(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Padding and border grey of the four sides, then the four corners; a picture's inside is never looked at."""
    sides = [np.rot90(grey, quarters) for quarters in range(4)]
    found: list[float] = []
    for side in sides:
        depth = max(1, round(_BORDER * len(side)))
        strip = side[:depth]
        corner = strip[:, : max(1, round(_BORDER * side.shape[1]))]
        found += [padding(side), float(strip.mean()), float(strip.std()), float(corner.mean())]
    return np.array(found)


def padding(side: NDArray[np.float64]) -> float:
    """Return the share of rows from the top (rows, columns) that hold nothing but black."""
    lit = np.flatnonzero(side.max(axis=1) > _BLACK)
    return float(lit[0] / len(side)) if len(lit) else 1.0
