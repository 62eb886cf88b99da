"""The one preprocessing: an image's frame -> the tensor a network sees. Training, export and serving all call this.

Order: grey-scale pipeline (VOI, inversion, grey or RGB, EXIF), contrast equalisation if asked for, resize,
normalise, pad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from irmsia.imaging.clahe import ClaheSpec, apply_clahe
from irmsia.imaging.geometry import Grid, Placement, fit, undo_orientation
from irmsia.imaging.types import Image
from irmsia.imaging.voi import GreyPicture, grey, picture
from irmsia.imaging.window import VoiSpec, VoiUsed

__all__ = [
    "ClaheSpec",
    "Fingerprint",
    "NormaliseSpec",
    "Prepared",
    "PreprocessSpec",
    "ResizeSpec",
    "VoiSpec",
    "VoiUsed",
]

FINGERPRINT_SIZE = 16

# ImageNet's channel statistics (torchvision); the grey ones are the mean and the root mean square over the channels
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_FLAT = 1e-6  # a standard deviation or range of 0..1 values below this is rounding, not signal


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResizeSpec(_Step):
    """To a square of ``size`` pixels: area-averaged when shrinking, cubic when enlarging.

    ``keep_aspect``: the picture lies in the middle, the rest holds ``pad``, a value of the finished tensor.
    """

    size: Annotated[int, Field(ge=FINGERPRINT_SIZE, le=4096)] = 160
    keep_aspect: bool = True
    shrink: Literal["area"] = "area"
    enlarge: Literal["cubic"] = "cubic"
    pad: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class NormaliseSpec(_Step):
    """What the values 0..1 become. Statistics are those of the resized picture without its padding, in float64.

    ``none``: stay. ``minmax``: least 0, largest 1. ``zscore``: mean 0, standard deviation 1. ``imagenet``: by the
    channel statistics of ImageNet. A constant picture becomes 0 by ``minmax`` and ``zscore``.
    """

    method: Literal["none", "minmax", "zscore", "imagenet"] = "zscore"


class PreprocessSpec(_Step):
    """Serialised into every bundle: ``model_dump_json`` and ``model_validate_json`` are inverse, unknown keys refused.

    ``channels``: 1 = grey; 3 = RGB, a grey image repeated.
    """

    version: Literal[1] = 1
    channels: Literal[1, 3] = 1
    voi: VoiSpec = VoiSpec()
    clahe: ClaheSpec | None = None
    resize: ResizeSpec = ResizeSpec()
    normalise: NormaliseSpec = NormaliseSpec()

    def apply(self, image: Image, frame: int) -> Prepared:
        """The tensor of frame number ``frame``, float32 (channels, size, size).

        Raises:
            InvalidRequestError: the VOI asks for a CT preset and the image has no Hounsfield units.
            UnsupportedError: a colour of no known kind.
        """
        return self.apply_to(self.picture(image, frame), frame)

    def picture(self, image: Image, frame: int) -> GreyPicture:
        """The picture that `apply_to` starts from, for who needs it as well."""
        return grey(image, frame, self.voi) if self.channels == 1 else picture(image, frame, self.voi)

    def apply_to(self, seen: GreyPicture, frame: int) -> Prepared:
        """`apply` for a picture that `picture` has already made."""
        values = seen.values if self.clahe is None else apply_clahe(seen.values, self.clahe)
        placement = fit(values.shape[0], values.shape[1], self.resize.size, keep_aspect=self.resize.keep_aspect)
        resized = _resize(values, placement.height, placement.width)
        tensor = _place(_normalise(resized, self.normalise, self.channels), placement, self.resize.pad)
        grid = placement.grid(seen.orientation)
        return Prepared(frame, tensor, grid, seen.orientation, seen.blank, seen.voi)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What golden records keep of a tensor. ``reduced``: float64 (channels, 16, 16), area-averaged."""

    reduced: NDArray[np.float64]
    mean: float
    std: float

    def difference(self, other: Fingerprint) -> float:
        """Largest absolute difference of any number; infinite when the shapes differ."""
        if self.reduced.shape != other.reduced.shape:
            return float("inf")
        cells = float(np.abs(self.reduced - other.reduced).max())
        return max(cells, abs(self.mean - other.mean), abs(self.std - other.std))

    def to_json(self) -> dict[str, Any]:
        """JSON object; `from_json` is its inverse."""
        return {"reduced": self.reduced.tolist(), "mean": self.mean, "std": self.std}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Fingerprint:
        """From what `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: the content is something else.
        """
        reduced = np.array(content["reduced"], dtype=np.float64)
        if reduced.ndim != 3 or reduced.shape[1:] != (FINGERPRINT_SIZE, FINGERPRINT_SIZE):
            raise ValueError("a fingerprint holds 16 x 16 cells a channel")
        return cls(reduced, float(content["mean"]), float(content["std"]))


@dataclass(frozen=True, slots=True)
class Prepared:
    """One frame, ready for a network.

    ``tensor``: float32 (channels, size, size), C-contiguous, as seen. ``grid``: where its pixels lie in the stored
    image once `undo_orientation` by ``exif_orientation`` has turned it back. ``blank``: rule 2 of contract section 3.
    """

    frame: int
    tensor: NDArray[np.float32]
    grid: Grid
    exif_orientation: int
    blank: bool
    voi: VoiUsed

    def fingerprint(self) -> Fingerprint:
        """The tensor's 16 x 16 area-averaged copy, mean and standard deviation, accumulated in float64."""
        exact = self.tensor.astype(np.float64)
        weights = _area_weights(exact.shape[-1], FINGERPRINT_SIZE)
        return Fingerprint(weights @ exact @ weights.T, float(exact.mean()), float(exact.std()))

    def locate(self, cells: NDArray[np.float32]) -> tuple[NDArray[np.float32], Grid]:
        """Turn a map of the tensor (rows, columns) back to the stored image: the turned map and its own grid.

        The cells together cover the whole tensor, each the same share.
        """
        turned = np.ascontiguousarray(undo_orientation(cells, self.exif_orientation))
        size = self.tensor.shape[-1]
        return turned, self.grid.coarsened(size / turned.shape[0], size / turned.shape[1])


def _resize(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Shrink first, then enlarge, each axis by the filter that suits it; overshoot of the cubic is cut off."""
    rows, columns = values.shape[:2]
    least = (min(height, rows), min(width, columns))
    if least != (rows, columns):
        values = np.asarray(cv2.resize(values, least[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)
    if least != (height, width):
        enlarged = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
        values = np.clip(np.asarray(enlarged, dtype=np.float32), 0.0, 1.0)
    return values


def _normalise(values: NDArray[np.float32], spec: NormaliseSpec, channels: int) -> NDArray[np.float32]:
    """(height, width) or (height, width, 3), 0..1 -> (channels, height, width)."""
    stacked = values[np.newaxis] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    shape = (channels, *stacked.shape[1:])
    exact = np.broadcast_to(stacked.astype(np.float64), shape)
    return _normalised(exact, spec).astype(np.float32)


def _normalised(exact: NDArray[np.float64], spec: NormaliseSpec) -> NDArray[np.float64]:
    if spec.method == "zscore":
        return _scaled(exact, float(exact.mean()), float(exact.std()))
    if spec.method == "minmax":
        return _scaled(exact, float(exact.min()), float(np.ptp(exact)))
    if spec.method == "imagenet":
        return _by_imagenet(exact)
    return exact


def _scaled(exact: NDArray[np.float64], origin: float, scale: float) -> NDArray[np.float64]:
    return (exact - origin) / scale if scale > _FLAT else np.zeros_like(exact)


def _by_imagenet(exact: NDArray[np.float64]) -> NDArray[np.float64]:
    mean, std = np.array(_IMAGENET_MEAN), np.array(_IMAGENET_STD)
    if exact.shape[0] == 1:
        mean, std = mean.mean(keepdims=True), np.sqrt(np.square(std).mean(keepdims=True))
    return np.asarray((exact - mean[:, None, None]) / std[:, None, None])


def _place(values: NDArray[np.float32], placement: Placement, pad: float) -> NDArray[np.float32]:
    size = placement.size
    tensor = np.full((values.shape[0], size, size), pad, np.float32)
    bottom, right = placement.top + placement.height, placement.left + placement.width
    tensor[:, placement.top : bottom, placement.left : right] = values
    return tensor


def _area_weights(extent: int, cells: int) -> NDArray[np.float64]:
    """(cells, extent): share of each pixel in each cell's mean."""
    edges = np.arange(cells + 1) * (extent / cells)
    pixels = np.arange(extent)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(overlap, 0.0, None) * (cells / extent))
