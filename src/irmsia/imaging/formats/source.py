"""What every format gives to the reader: what is known so far, and frames one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import LimitExceededError
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.types import FrameGeometry, ImageInfo, Interpretation, Notice


class Draft:
    """What is known of an image while it is read; what was learnt before an error stays known."""

    def __init__(self) -> None:
        self.interpretation = Interpretation()
        self._known: dict[str, Any] = {}
        self._info: ImageInfo | None = None
        self._notices: dict[str, Notice] = {}

    @property
    def info(self) -> ImageInfo:
        """What is known so far, warnings in the order they were met."""
        if self._info is None:
            self._info = ImageInfo(**self._known, warnings=tuple(self._notices.values()))
        return self._info

    @property
    def lossless(self) -> bool | None:
        """Whether every step so far was; null while nobody said."""
        return self._known.get("lossless")

    def learn(self, **known: Any) -> None:
        """Set fields of the `ImageInfo`."""
        self._known.update(known)
        self._info = None

    def look(self, **known: Any) -> None:
        """Set fields of the `Interpretation`."""
        self.interpretation = replace(self.interpretation, **known)

    def warn(self, code: str, text: str) -> None:
        """Add a warning once; ``text`` holds no value of a patient's element."""
        self._notices.setdefault(code + text, Notice(code, text))
        self._info = None


@dataclass(frozen=True, slots=True)
class Source:
    """An opened file: how many frames it holds and an iterator that decodes them one at a time.

    ``frames`` yields arrays (rows, columns, samples) of the contract's stored values, all of one shape and type.
    ``by_frame``: an `Interpretation` for each frame where they differ, else empty. ``geometry``: that of one frame,
    null where the file's holds for all.
    """

    total: int
    frames: Iterator[NDArray[np.generic]]
    by_frame: tuple[Interpretation, ...] = field(default=())
    geometry: Callable[[int], FrameGeometry] | None = None


def decode_once(decode: Callable[[], NDArray[np.generic]]) -> Iterator[NDArray[np.generic]]:
    """The frames of a file that holds one: decoded when asked for."""
    yield decode()


def check_pixels(rows: int, columns: int, limits: ReadLimits) -> None:
    """Refuse a frame of more pixels than the limit, before anything is allocated.

    Raises:
        LimitExceededError: rows x columns is above ``limits.frame_pixels``.
    """
    if rows * columns > limits.frame_pixels:
        raise LimitExceededError(f"a frame of {rows} x {columns} pixels; the limit is {limits.frame_pixels}")


def check_frames(frames: int, limits: ReadLimits) -> None:
    """Refuse more frames than the limit.

    Raises:
        LimitExceededError: ``frames`` is above ``limits.frames``.
    """
    if frames > limits.frames:
        raise LimitExceededError(f"{frames} frames; the limit is {limits.frames}")


def as_samples(frame: NDArray[np.generic]) -> NDArray[np.generic]:
    """``frame`` with its sample axis: (rows, columns) becomes (rows, columns, 1)."""
    return frame[:, :, np.newaxis] if frame.ndim == 2 else frame
