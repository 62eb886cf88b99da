"""Pictures for people: a frame as seen, a contribution map over it, PNG files. Nothing here feeds a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia import durable
from irmsia.errors import InvalidRequestError
from irmsia.imaging.clahe import ClaheSpec, apply_clahe
from irmsia.imaging.geometry import Grid, apply_orientation, undo_orientation
from irmsia.imaging.types import Image
from irmsia.imaging.voi import GreyPicture, grey, picture
from irmsia.imaging.window import VoiSpec, VoiUsed

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = 33  # bytes of the signature and the first chunk, which says the sides
_MOST_SIDE = 4096
_OPACITY = 0.6
_BLOCK = 1 << 18  # pixels blended at a time
_RAISES = np.array((215, 48, 39), np.float32)  # red: speaks for the term
_LOWERS = np.array(
    (69, 117, 180), np.float32
)  # blue: against it; ColorBrewer's RdYlBu, which colour-blind people tell apart


def render_frame(image: Image, frame: int, voi: VoiSpec | None = None) -> NDArray[np.uint8]:
    """The frame as seen: uint8 (rows, columns), or (rows, columns, 3) as RGB for a colour image.

    ``voi``: the file's own unless told.

    Raises:
        InvalidRequestError: a preset that is not for this image.
        UnsupportedError: a colour of no known kind.
    """
    return to_uint8(picture(image, frame, voi or VoiSpec()))


def render_seen(
    image: Image, frame: int, voi: VoiSpec, clahe: ClaheSpec | None = None
) -> tuple[NDArray[np.uint8], VoiUsed]:
    """As `render_frame`, with its contrast equalised where ``clahe`` is given, and the VOI that was used."""
    seen = picture(image, frame, voi)
    shown = seen if clahe is None else replace(seen, values=apply_clahe(seen.values, clahe))
    return to_uint8(shown), seen.voi


def render_grey(image: Image, frame: int, voi: VoiSpec | None = None) -> NDArray[np.uint8]:
    """As `render_frame`, always grey (rows, columns): what an overlay lies on."""
    return to_uint8(grey(image, frame, voi or VoiSpec()))


def to_uint8(seen: GreyPicture) -> NDArray[np.uint8]:
    """A picture's values 0..1 as 0..255, rounded."""
    scaled = cv2.convertScaleAbs(seen.values, alpha=255.0)
    return np.asarray(scaled, dtype=np.uint8)


def render_overlay(
    base: NDArray[np.uint8], contributions: NDArray[np.float32], grid: Grid, *, orientation: int = 1
) -> NDArray[np.uint8]:
    """Lay signed contributions over a picture: red speaks for the term, blue against it, nothing is left clear.

    ``base``: uint8 (rows, columns) or (rows, columns, 3), as seen. ``contributions``: (h, w) of the stored image and
    their ``grid``, as `Prepared.locate` gives them. ``orientation``: EXIF orientation of ``base``. Colours are scaled
    to the largest magnitude; where all are zero or not finite the picture stays. Returns RGB (rows, columns, 3).

    Raises:
        InvalidRequestError: ``base`` is of another type or shape.
    """
    if base.dtype != np.uint8 or base.ndim not in (2, 3):
        raise InvalidRequestError("an overlay lies on a picture of 8 bits")
    rgb = np.repeat(base[..., None], 3, axis=2) if base.ndim == 2 else base
    stored = np.ascontiguousarray(undo_orientation(rgb, orientation))
    blended = _blend(stored, _scaled(contributions), grid)
    return np.ascontiguousarray(apply_orientation(blended, orientation))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of uint8 (rows, columns) or RGB (rows, columns, 3).

    Raises:
        InvalidRequestError: another type or shape, or no pixels.
    """
    if pixels.dtype != np.uint8 or not pixels.size or (pixels.ndim != 2 and pixels.shape[2:] != (3,)):
        raise InvalidRequestError("a PNG is made of uint8 grey or RGB pixels")
    ordered = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])  # OpenCV writes BGR
    done, encoded = cv2.imencode(".png", ordered)
    if not done:
        raise InvalidRequestError("the picture cannot be written as PNG")
    return encoded.tobytes()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 80) -> bytes:
    """JPEG bytes of uint8 (rows, columns) or RGB (rows, columns, 3): for thumbnails, never for measuring.

    Raises:
        InvalidRequestError: another type or shape, or no pixels.
    """
    if pixels.dtype != np.uint8 or not pixels.size or (pixels.ndim != 2 and pixels.shape[2:] != (3,)):
        raise InvalidRequestError("a JPEG is made of uint8 grey or RGB pixels")
    ordered = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    done, encoded = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise InvalidRequestError("the picture cannot be written as JPEG")
    return encoded.tobytes()


def shrink(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """A picture with at most ``longest`` pixels on its long side; it is never enlarged."""
    by = max(pixels.shape[:2]) / longest
    if by <= 1.0:
        return pixels
    rows, columns = (max(1, round(side / by)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def shrink_png(png: bytes, longest: int) -> bytes:
    """The picture of ``png`` with at most ``longest`` pixels on its long side, as PNG; it is never enlarged.

    Raises:
        InvalidRequestError: no PNG that can be read, or one of more than 4,096 x 4,096 pixels.
    """
    sides = np.frombuffer(png[16:24], ">u4") if png.startswith(_PNG) and len(png) > _PNG_HEADER else None
    if sides is None or sides.max() > _MOST_SIDE:
        raise InvalidRequestError("the picture is no PNG, or too large")
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InvalidRequestError("the picture is no PNG that can be read")
    return encode_png(shrink(np.asarray(pixels[..., ::-1], np.uint8), longest))


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write `encode_png` to a file, whole or not at all.

    Raises:
        InvalidRequestError: another type or shape, or no pixels.
        OSError: what the file system says.
    """
    durable.write_bytes(path, encode_png(pixels))


def _scaled(contributions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contributions over their largest magnitude: -1..1."""
    finite = np.nan_to_num(contributions.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(np.abs(finite).max(initial=0.0))
    return finite / np.float32(largest) if largest > 0.0 else finite


def _linear_weights(extent: int, first: float, step: float, cells: int) -> NDArray[np.float32]:
    """(extent, cells): linear between cell centres, their nearest value beyond the outermost."""
    place = np.clip((np.arange(extent, dtype=np.float64) - first) / step, 0.0, cells - 1.0)
    distance = np.abs(place[:, None] - np.arange(cells))
    return np.clip(1.0 - distance, 0.0, None).astype(np.float32)


def _blend(rgb: NDArray[np.uint8], strength: NDArray[np.float32], grid: Grid) -> NDArray[np.uint8]:
    """Colour over ``rgb`` by blocks of rows, so that a large picture needs no large temporaries."""
    rows, columns = rgb.shape[:2]
    down = _linear_weights(rows, grid.row0, grid.row_step, strength.shape[0])
    across = strength @ _linear_weights(columns, grid.column0, grid.column_step, strength.shape[1]).T
    blended = np.empty_like(rgb)
    block = max(1, _BLOCK // columns)
    for first in range(0, rows, block):
        part = slice(first, first + block)
        blended[part] = _mix(rgb[part], down[part] @ across)
    return blended


def _mix(rgb: NDArray[np.uint8], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    opacity = (np.float32(_OPACITY) * np.abs(strength))[..., None]
    colour = np.where(strength[..., None] > 0, _RAISES, _LOWERS)
    mixed = rgb.astype(np.float32) * (1.0 - opacity) + colour * opacity
    return np.asarray(np.rint(mixed).astype(np.uint8))
