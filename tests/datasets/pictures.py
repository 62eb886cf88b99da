"""Pictures with structure at all sizes, and what people do to copies of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]


def make_picture(seed: int, rows: int = 180, columns: int = 220) -> Grey:
    """Clouds of several sizes, as different from seed to seed as two bodies are."""
    order = np.random.default_rng(seed)
    total = np.zeros((rows, columns), np.float32)
    for cells, strength in ((4, 90), (9, 60), (22, 40), (60, 22)):
        coarse = order.normal(0, strength, (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.clip(total + 120, 0, 255).astype(np.uint8)


def as_jpeg(grey: Grey, quality: int = 60) -> Grey:
    """Through a lossy file and back."""
    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def resized(grey: Grey, rows: int, columns: int) -> Grey:
    """Another size, and shape."""
    return np.asarray(cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def cropped(grey: Grey, top: float, left: float, bottom: float, right: float) -> Grey:
    """Shares cut off the sides."""
    rows, columns = grey.shape
    return grey[int(top * rows) : int((1 - bottom) * rows), int(left * columns) : int((1 - right) * columns)].copy()


def gamma(grey: Grey, exponent: float) -> Grey:
    """Brighter or darker in the middle."""
    return np.asarray(np.rint(255 * (grey / 255) ** exponent), np.uint8)


COPIES: dict[str, tuple[str, Callable[[Grey], Any]]] = {
    "re-encoded": ("REENCODED", as_jpeg),
    "smaller": ("RESIZED", lambda grey: resized(grey, 110, 134)),
    "another shape": ("RESIZED", lambda grey: resized(grey, 160, 160)),
    "cropped at one corner": ("CROPPED", lambda grey: cropped(grey, 0.1, 0.09, 0, 0)),
    "cropped all around": ("CROPPED", lambda grey: cropped(grey, 0.04, 0.06, 0.06, 0.04)),
    "brighter": ("TONED", lambda grey: np.clip(grey * 0.7 + 60, 0, 255).astype(np.uint8)),
    "gamma": ("TONED", lambda grey: gamma(grey, 0.6)),
    "mirrored": ("MIRRORED", lambda grey: grey[:, ::-1].copy()),
    "upside down": ("MIRRORED", lambda grey: grey[::-1].copy()),
    "turned by 180": ("MIRRORED", lambda grey: grey[::-1, ::-1].copy()),
    "mirrored and cropped": ("MIRRORED", lambda grey: cropped(grey[:, ::-1], 0, 0.08, 0.08, 0)),
}
