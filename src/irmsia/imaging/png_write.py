"""Stored values of one frame as a PNG file, nothing windowed: what is read from it is what was written."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import ChecksumMismatchError, InvalidRequestError, UnsupportedError
from irmsia.imaging.types import ImageInfo, Interpretation

_GREYS = frozenset({"GREY", "MONOCHROME1", "MONOCHROME2"})
_COLOURS = {"RGB": 3, "RGBA": 4}
_TYPES = frozenset({"uint8", "uint16"})


def encode_stored(samples: NDArray[Any], look: Interpretation) -> bytes:
    """PNG bytes of (rows, columns, samples): 8 or 16 bits, grey, RGB or RGBA.

    Raises:
        UnsupportedError: values or a colour that PNG cannot hold as they are; the message says which.
    """
    if samples.dtype.name not in _TYPES:
        raise UnsupportedError(f"PNG holds no {samples.dtype.name} values as they are")
    if samples.shape[2] != _COLOURS.get(look.photometric, 1) or look.photometric not in _GREYS | _COLOURS.keys():
        raise UnsupportedError(f"PNG holds no {look.photometric} samples as they are")
    return encode_samples(samples)


def encode_samples(samples: NDArray[Any]) -> bytes:
    """PNG bytes of uint8 or uint16 (rows, columns, 1, 3 or 4)."""
    swapped = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(samples.shape[2])  # OpenCV writes BGR
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(samples[..., swapped] if swapped else samples))
    if not done:
        raise InvalidRequestError("the picture cannot be written as PNG")
    return encoded.tobytes()


def check_picture(info: ImageInfo, shape: tuple[int, ...], digest: str) -> None:
    """Compare a PNG file that was read again with the frame that was written.

    Raises:
        ChecksumMismatchError: it holds something else.
    """
    if info.shape != (1, *shape) or info.frame_sha256 != (digest,):
        raise ChecksumMismatchError("the picture does not read as it was written; nothing was kept of it")
