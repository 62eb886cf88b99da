"""Colour to RGB and RGB to grey, as the grey-scale pipeline of contract section 1 says."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import UnsupportedError
from irmsia.imaging.types import Interpretation

GREY_WEIGHTS = (0.299, 0.587, 0.114)

GREY_PHOTOMETRICS = frozenset({"GREY", "GREY_ALPHA", "MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
_RGB = frozenset({"RGB", "RGBA", "YBR_RCT", "YBR_ICT"})
_YBR_FULL = frozenset({"YBR_FULL", "YBR_FULL_422"})
_YBR_PARTIAL = frozenset({"YBR_PARTIAL_422", "YBR_PARTIAL_420"})

# DICOM PS3.3 C.7.6.3.1.2, for 8 bits: luminance offset, luminance scale, then Cb and Cr around 128
_FULL = (0.0, 1.0, 1.0)
_PARTIAL = (16.0, 255.0 / 219.0, 255.0 / 224.0)


def is_colour(interpretation: Interpretation) -> bool:
    """Whether the stored samples are colours (palette indices included)."""
    return interpretation.photometric not in GREY_PHOTOMETRICS


def to_rgb(samples: NDArray[Any], interpretation: Interpretation) -> NDArray[Any]:
    """Stored colour samples (rows, columns, samples) -> RGB (rows, columns, 3) in the range of the samples.

    Integers stay integers of the same type. A palette of whole numbers gives uint8, any other float32 0..255.

    Raises:
        UnsupportedError: the photometric interpretation is none that is known.
    """
    photometric = interpretation.photometric
    if photometric == PALETTE:
        return _expand(samples[..., 0], interpretation)
    if photometric in _RGB:
        return np.ascontiguousarray(samples[..., :3])
    if photometric in _YBR_FULL:
        return _from_ybr(samples, interpretation, _FULL)
    if photometric in _YBR_PARTIAL:
        return _from_ybr(samples, interpretation, _PARTIAL)
    if photometric in ("CMYK", "CMYK_INVERTED"):
        return _from_cmyk(samples, interpretation)
    raise UnsupportedError("a PhotometricInterpretation that is not read")


def sample_top(samples: NDArray[Any], interpretation: Interpretation) -> float | None:
    """The largest value a colour sample can take; null for floats, whose range nobody states."""
    if interpretation.photometric == PALETTE:
        return 255.0
    return None if samples.dtype.kind == "f" else float(2**interpretation.bits_stored - 1)


def to_grey(rgb: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """RGB (rows, columns, 3) -> .299 R + .587 G + .114 B, unrounded: (rows, columns), and its unit.

    The unit is 1, or 1000 for 8-bit samples: whole thousandths in float32 are exact, so that equal colours give equal
    greys. One unit is one step of the samples.
    """
    if rgb.dtype == np.uint8:
        thousandths = cv2.transform(rgb.astype(np.float32), np.array([[299.0, 587.0, 114.0]], np.float32))
        return np.asarray(thousandths.reshape(rgb.shape[:2])), 1000.0
    return np.asarray(rgb.astype(np.float64) @ np.array(GREY_WEIGHTS)), 1.0


def palette_greys(interpretation: Interpretation) -> NDArray[np.float64]:
    """Grey 0..255 of each entry of the palette, (entries,).

    Raises:
        UnsupportedError: there is no palette.
    """
    palette = _palette(interpretation)
    return np.asarray((299.0 * palette[:, 0] + 587.0 * palette[:, 1] + 114.0 * palette[:, 2]) / 1000.0)


def _palette(interpretation: Interpretation) -> NDArray[np.float64]:
    if interpretation.palette is None:
        raise UnsupportedError("palette colour without its palette")
    return interpretation.palette


def _expand(indices: NDArray[Any], interpretation: Interpretation) -> NDArray[Any]:
    palette = _palette(interpretation)
    entries = palette.astype(np.uint8) if np.array_equal(palette, np.rint(palette)) else palette.astype(np.float32)
    last = len(entries) - 1
    place = np.clip(indices.astype(np.int64) - interpretation.palette_first, 0, last)
    return np.asarray(entries[place])


def _from_ybr(
    samples: NDArray[Any], interpretation: Interpretation, scaling: tuple[float, float, float]
) -> NDArray[Any]:
    offset, luma, chroma = scaling
    scale = 2.0 ** (interpretation.bits_stored - 8)
    middle, red, blue = 128.0 * scale, 1.402 * chroma, 1.772 * chroma
    green_blue, green_red = 0.114 * 1.772 / 0.587 * chroma, 0.299 * 1.402 / 0.587 * chroma
    base = -luma * offset * scale
    matrix = np.array(
        [
            [luma, 0.0, red, base - red * middle],
            [luma, -green_blue, -green_red, base + (green_blue + green_red) * middle],
            [luma, blue, 0.0, base - blue * middle],
        ]
    )
    rgb = cv2.transform(np.ascontiguousarray(samples[..., :3], dtype=np.float32), matrix)
    top = 2**interpretation.bits_stored - 1
    return np.asarray(np.clip(np.rint(rgb), 0, top).astype(samples.dtype))


def _from_cmyk(samples: NDArray[Any], interpretation: Interpretation) -> NDArray[Any]:
    top = float(2**interpretation.bits_stored - 1)
    light = samples.astype(np.float32)
    if interpretation.photometric == "CMYK":
        np.subtract(top, light, out=light)
    rgb = light[..., :3] * (light[..., 3:] / top)
    return np.asarray(np.rint(rgb).astype(samples.dtype))
