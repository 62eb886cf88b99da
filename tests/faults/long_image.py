"""An image that keeps a decoder busy for many seconds, frame by frame, so that a test can hit the child at its work."""

from __future__ import annotations

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from tests.imaging.samples import make_dataset, write

_SIDE = 512
_FRAMES = 12_000


def make_long_image(name: str) -> bytes:
    """A CT of very many JPEG 2000 frames, each of few bytes; another ``name`` gives other bytes."""
    row = np.arange(_SIDE, dtype=np.uint8)
    stream = imagecodecs.jpeg2k_encode(np.broadcast_to(row, (_SIDE, _SIDE)).copy(), reversible=True, level=0)
    dataset = make_dataset(np.zeros((1, _SIDE, _SIDE, 1), np.uint8), NumberOfFrames=_FRAMES, SeriesDescription=name)
    dataset.PixelData = encapsulate([bytes(stream)] * _FRAMES)
    dataset["PixelData"].is_undefined_length = True
    return write(dataset, JPEG2000Lossless)
