"""Multi-frame files made of phantoms: one object, each frame with the lesion it is told, or blank."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from irmsia.imaging.phantoms import LesionKind, PhantomKind, make_phantom

BLANK = "blank"


def make_stack(frames: Sequence[LesionKind | str], *, seed: int = 101, kind: PhantomKind = "CT") -> bytes:
    """One DICOM file; ``frames``: none, bright, dark or blank, in their order."""
    pictures = {name: frame_file(name, seed=seed, kind=kind) for name in dict.fromkeys(frames)}
    header = pydicom.dcmread(io.BytesIO(next(iter(pictures.values()))))
    pixels = {name: pydicom.dcmread(io.BytesIO(data)).PixelData for name, data in pictures.items()}
    header.NumberOfFrames = len(frames)
    header.PixelData = b"".join(pixels[name] for name in frames)
    return _written(header)


def frame_file(name: LesionKind | str, *, seed: int = 101, kind: PhantomKind = "CT") -> bytes:
    """The single-frame file of one frame of `make_stack`."""
    if name != BLANK:
        return make_phantom(seed, kind, name).data  # type: ignore[arg-type]
    header = pydicom.dcmread(io.BytesIO(make_phantom(seed, kind, "none").data))
    stored: NDArray[Any] = np.full_like(header.pixel_array, 40)
    header.PixelData = stored.tobytes()
    return _written(header)


def _written(header: pydicom.Dataset) -> bytes:
    if len(header.PixelData) % 2:
        header.PixelData += b"\0"
    buffer = io.BytesIO()
    header.save_as(buffer)
    return buffer.getvalue()
