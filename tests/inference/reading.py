"""Reading in this process, with room for a fault: what a decoder child does, without the child."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from irmsia.errors import NotFoundError
from irmsia.imaging.decode_task import FrameRule, PreparedInput, PrepareTask
from irmsia.imaging.frames import EvenlySpaced
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.imaging.read import read_image
from irmsia.imaging.types import Image


def _unheard(frames: int, total: int) -> None:
    """Nobody listens."""


def _same(image: Image) -> Image:
    return image


class InProcessDecoder:
    """Prepares as `irmsia.imaging.guard.DecoderPool` does; ``change`` tampers with every image that was read."""

    def __init__(self, change: Callable[[Image], Image] = _same) -> None:
        self._change = change
        self.calls = 0

    def warm(self) -> None:
        """Nothing to start."""

    def digest(self, source: bytes | Path) -> str | None:
        """SHA-256 of the source, null where there is none."""
        return _sha256(source)

    def prepare(
        self,
        source: bytes | Path,
        spec: PreprocessSpec,
        *,
        frames: FrameRule | None = None,
        with_picture: bool = False,
        deadline: float | None = None,
        heard: Callable[[int, int], None] | None = None,
    ) -> PreparedInput:
        """Read and preprocess the frames of the rule."""
        self.calls += 1
        frames = frames or EvenlySpaced()
        data = memoryview(_bytes(source))
        if self._change is _same:
            return PrepareTask(spec, frames, with_picture).run(data, ReadLimits(), None, heard or _unheard)
        image = self._change(read_image(data, ReadLimits(), frames=frames))
        return PreparedInput(image.info, tuple(spec.apply(image, index) for index in image.indices), 0.0, 0.0)


def _sha256(source: bytes | Path) -> str | None:
    try:
        return hashlib.sha256(_bytes(source)).hexdigest()
    except NotFoundError:
        return None


def _bytes(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    if not source.is_file():
        raise NotFoundError("there is no such file")
    return source.read_bytes()


def make_png(seed: int = 0, *, rows: int = 48, columns: int = 40, colour: bool = False) -> bytes:
    """PNG of smooth noise: no two seeds alike, no symmetry."""
    noise = np.random.default_rng(seed).random((6, 5, 3) if colour else (6, 5))
    pixels = cv2.resize((noise * 255).astype(np.uint8), (columns, rows), interpolation=cv2.INTER_CUBIC)
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()
