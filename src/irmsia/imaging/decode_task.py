"""What a decoder child is asked to do with one input, and what it gives back. Runs in the child, needs no process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InvalidRequestError
from irmsia.imaging.frames import EvenlySpaced, OneFrame
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.preprocess import ClaheSpec, Prepared, PreprocessSpec, VoiSpec, VoiUsed
from irmsia.imaging.read import Reading, inspect, read_image
from irmsia.imaging.render import render_grey, render_seen, to_uint8
from irmsia.imaging.types import FrameGeometry, Image, ImageInfo

Tick = Callable[[int, int], None]
"""Hears how many frames are decoded, and of how many; all of them: what is left is preprocessing."""

FrameRule = EvenlySpaced | OneFrame


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """A read file ready for a network.

    ``picture``: uint8 (rows, columns), the first prepared frame as seen, in grey, at stored resolution, after EXIF
    orientation; only when it was asked for. ``geometry``: that of each of ``frames`` where they have their own, else
    empty. Times in milliseconds.
    """

    info: ImageInfo
    frames: tuple[Prepared, ...]
    decode_ms: float
    preprocess_ms: float
    picture: NDArray[np.uint8] | None = None
    geometry: tuple[FrameGeometry, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """One frame as seen: uint8 (rows, columns), or (rows, columns, 3) for colour, and the VOI that it was seen by."""

    info: ImageInfo
    pixels: NDArray[np.uint8]
    voi: VoiUsed


@dataclass(frozen=True, slots=True)
class PrepareTask:
    """Read, and preprocess each frame that ``frames`` names as soon as it is decoded: one is held at a time."""

    spec: PreprocessSpec
    frames: FrameRule
    with_picture: bool

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> PreparedInput:
        """See `PreparedInput`. Raises `InputError` leaves, `InvalidRequestError` for a VOI that does not fit."""
        reading = Reading(data, limits, key)
        begin = time.perf_counter()
        prepared: list[Prepared] = []
        geometry: list[FrameGeometry] = []
        preparing = 0.0
        shown = None
        for image in reading.images(self.frames, tick):
            decoded = time.perf_counter()
            index = image.indices[0]
            tick(index + 1, image.info.shape[0] if image.info.shape is not None else 1)
            seen = self.spec.picture(image, index)
            prepared.append(self.spec.apply_to(seen, index))
            if self.with_picture and shown is None:
                shown = to_uint8(seen) if seen.values.ndim == 2 else render_grey(image, index, self.spec.voi)
            geometry.extend(image.geometry)
            preparing += time.perf_counter() - decoded
        decoding = time.perf_counter() - begin - preparing
        times = decoding * 1e3, preparing * 1e3
        return PreparedInput(reading.info(), tuple(prepared), *times, shown, tuple(geometry))


@dataclass(frozen=True, slots=True)
class InspectTask:
    """Read everything and keep no pixels."""

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> ImageInfo:
        """All that is known; errors of the input are within."""
        return inspect(data, limits, pseudonym_key=key, progress=tick)


@dataclass(frozen=True, slots=True)
class RenderTask:
    """Read and show one frame."""

    frame: int
    voi: VoiSpec
    clahe: ClaheSpec | None = None

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> Rendered:
        """See `Rendered`. Raises `InvalidRequestError` where there is no such frame."""
        image: Image = read_image(data, limits, frames=OneFrame(self.frame), pseudonym_key=key, progress=tick)
        if not image.indices:
            raise InvalidRequestError(f"there is no frame {self.frame}")
        return Rendered(image.info, *render_seen(image, self.frame, self.voi, self.clahe))


class Task(Protocol):
    """Anything a child can do with an input; picklable, its result of plain types of the imaging package."""

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> Any:
        """Do it; call ``tick`` as each frame begins."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a child works under, told once."""

    limits: ReadLimits
    pseudonym_key: bytes | None


@dataclass(frozen=True, slots=True)
class Order:
    """One task; the input follows as bytes, or as a file descriptor where ``by_descriptor``.

    ``told``: somebody wants to hear at once that all frames are decoded.
    """

    task: Task
    by_descriptor: bool
    told: bool = False
