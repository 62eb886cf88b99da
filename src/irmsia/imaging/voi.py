"""The grey-scale pipeline of contract section 1: stored values -> modality values -> VOI -> the picture one sees.

The same code serves viewing, training and answering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InvalidRequestError
from irmsia.imaging import colour
from irmsia.imaging.distribution import Distribution, count_codes, from_counts, from_values
from irmsia.imaging.geometry import apply_orientation
from irmsia.imaging.types import Image, ImageFormat, ImageInfo, Interpretation
from irmsia.imaging.window import Range, Tone, VoiSource, VoiSpec, VoiUsed, choose_voi, look_up, stretch_tone

BLANK_EQUAL_SHARE = 0.98
BLANK_RANGE = 0.02
BLANK_STEPS = 4.0
BLANK_FLOAT = 1e-6
_BLANK_PERCENTILES = (0.5, 99.5)
_WHOLE = VoiUsed(VoiSource.NONE, "colour: whole range")
_LARGEST = 1e150  # no measure: values beyond it would overflow the arithmetic of windows
_BLOCK = 1 << 18  # values at a time in float64, so that large frames need no large temporaries


@dataclass(frozen=True, slots=True)
class GreyPicture:
    """One frame as seen.

    ``values``: float32 (rows, columns), or (rows, columns, 3) as RGB, 0..1, EXIF orientation applied. ``blank``: rule 2
    of contract section 3. ``orientation``: the EXIF orientation that was applied.
    """

    values: NDArray[np.float32]
    voi: VoiUsed
    blank: bool
    orientation: int


@dataclass(frozen=True, slots=True)
class _Plane:
    """Stored values of one sample a pixel, and how often each occurs among the pixels that are no padding.

    ``levels``: the stored value of every code where ``stored`` is uint8 or uint16 codes, else null.
    """

    stored: NDArray[Any]
    levels: NDArray[np.float64] | None
    unpadded: Distribution
    interpretation: Interpretation

    @property
    def is_float(self) -> bool:
        return bool(self.stored.dtype.kind == "f")

    def padded_count(self) -> float:
        return self.stored.size - self.unpadded.total


def modality_values(image: Image, frame: int) -> NDArray[np.float32] | NDArray[np.float64]:
    """Modality values (rows, columns) of a grey frame as stored, no EXIF orientation: HU for CT, else the file's unit.

    float32 where stored in at most 16 bits or float32, else float64. Padding keeps its value.

    Raises:
        InvalidRequestError: a colour frame.
    """
    interpretation = image.interpretation_of(frame)
    if colour.is_colour(interpretation):
        raise InvalidRequestError("a colour image has no modality values")
    stored = image.frame(frame)[..., 0]
    wide = stored.dtype.itemsize > (4 if stored.dtype.kind == "f" else 2)
    return _apply(_modality_tone(interpretation), stored, np.float64 if wide else np.float32)


def grey(image: Image, frame: int, voi: VoiSpec) -> GreyPicture:
    """The grey picture of ``frame``: (rows, columns) as seen.

    Raises:
        InvalidRequestError: a preset that is not for this image.
        UnsupportedError: a colour of no known kind.
    """
    interpretation = image.interpretation_of(frame)
    if interpretation.photometric == colour.PALETTE:
        return _palette_picture(image.frame(frame), interpretation)
    if colour.is_colour(interpretation):
        return _colour_picture(image.frame(frame), interpretation, voi, as_rgb=False)
    return _grey_picture(image.frame(frame), interpretation, voi, image.info)


def picture(image: Image, frame: int, voi: VoiSpec) -> GreyPicture:
    """The picture of ``frame`` as seen: RGB for a colour image, else the same as `grey`. Raises what `grey` raises."""
    interpretation = image.interpretation_of(frame)
    if not colour.is_colour(interpretation):
        return grey(image, frame, voi)
    return _colour_picture(image.frame(frame), interpretation, voi, as_rgb=True)


def _grey_picture(samples: NDArray[Any], interpretation: Interpretation, spec: VoiSpec, info: ImageInfo) -> GreyPicture:
    plane = _plane(samples, interpretation)
    modality = _modality_tone(interpretation)
    window, used = choose_voi(spec, interpretation, _range(plane, modality, info))
    tone = _chain(modality, window, inverted=interpretation.inverted)
    values = _render(plane, tone)
    blank = _is_blank_picture(plane.unpadded.map(tone, single=True), plane.padded_count())
    blank = blank or (used.stretched and _is_blank_stretch(plane, modality))
    return _as_seen(values, used, blank=blank, orientation=interpretation.exif_orientation)


def _range(plane: _Plane, modality: Tone, info: ImageInfo) -> Range:
    values = plane.unpadded.map(modality)
    guess = info.acquisition.sequence_guess
    return Range(
        full=None if info.format is ImageFormat.DICOM else _full_range(plane, modality),
        percentiles=values.percentiles,
        foreground=lambda low, high: values.without_most_frequent().percentiles(low, high),
        whole=None if plane.is_float else _whole_range(plane.interpretation, modality),
        modality=info.modality,
        region=info.region,
        sequence=guess.label if guess is not None else None,
    )


def _whole_range(interpretation: Interpretation, modality: Tone) -> tuple[float, float]:
    """Modality values of the least and the largest value that the stored bits can hold."""
    if interpretation.modality_lut is not None:
        values = interpretation.modality_lut.values
        return float(values.min()), float(values.max())
    span = 2.0**interpretation.bits_stored
    least = -span / 2.0 if interpretation.signed else 0.0
    low, high = modality(np.array([least, least + span - 1.0]))
    return min(float(low), float(high)), max(float(low), float(high))


def _palette_picture(indices: NDArray[Any], interpretation: Interpretation) -> GreyPicture:
    greys = colour.palette_greys(interpretation)
    plane = _plane(indices, replace(interpretation, padding=None))
    whole = stretch_tone(0.0, 255.0)

    def tone(stored: NDArray[np.float64]) -> NDArray[np.float64]:
        return whole(look_up(stored, interpretation.palette_first, greys))

    blank = _is_blank_picture(plane.unpadded.map(tone, single=True), 0.0)
    return _as_seen(_render(plane, tone), _WHOLE, blank=blank, orientation=interpretation.exif_orientation)


def _colour_picture(
    samples: NDArray[Any], interpretation: Interpretation, spec: VoiSpec, *, as_rgb: bool
) -> GreyPicture:
    rgb = colour.to_rgb(samples, interpretation)
    greys, unit = colour.to_grey(rgb)
    occurrence = _grey_distribution(greys, whole=unit != 1.0)
    top = colour.sample_top(samples, interpretation)
    low, high, used = 0.0, unit * (top or 0.0), _WHOLE
    if top is None:
        low, high = occurrence.percentiles(spec.low_percentile, spec.high_percentile)
        used = VoiUsed(VoiSource.AUTOMATIC, "colour of unknown range: percentiles of the grey", stretched=True)
    blank = _is_blank_picture(occurrence.map(stretch_tone(low, high), single=True), 0.0)
    values = _stretched(rgb, low / unit, high / unit) if as_rgb else _stretched(greys, low, high)
    return _as_seen(values, used, blank=blank, orientation=interpretation.exif_orientation)


def _as_seen(values: NDArray[np.float32], used: VoiUsed, *, blank: bool, orientation: int) -> GreyPicture:
    seen = np.ascontiguousarray(apply_orientation(values, orientation))
    return GreyPicture(seen, used, blank, orientation)


def _plane(samples: NDArray[Any], interpretation: Interpretation) -> _Plane:
    stored = np.ascontiguousarray(samples[..., 0])
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        values = stored[_is_image(stored, interpretation)]
        return _Plane(stored, None, from_values(values), interpretation)
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    codes = stored.view(unsigned)
    codes_as_stored = np.arange(2 ** (8 * unsigned.itemsize), dtype=unsigned).view(stored.dtype)
    levels = codes_as_stored.astype(np.float64)
    counts = np.where(_is_image(levels, interpretation), count_codes(codes), 0.0)
    return _Plane(codes, levels, from_counts(levels, counts), interpretation)


def _is_image(stored: NDArray[Any], interpretation: Interpretation) -> NDArray[np.bool_]:
    inside = np.isfinite(stored)
    if stored.dtype == np.float64:
        inside &= np.abs(stored) < _LARGEST
    if interpretation.padding is not None:
        low, high = interpretation.padding
        inside &= (stored < low) | (stored > high)
    return np.asarray(inside)


def _modality_tone(interpretation: Interpretation) -> Tone:
    lut = interpretation.modality_lut
    if lut is not None:
        return lambda stored: look_up(stored, lut.first, lut.values)
    slope, intercept = interpretation.slope, interpretation.intercept
    return lambda stored: stored * slope + intercept


def _chain(modality: Tone, window: Tone, *, inverted: bool) -> Tone:
    if inverted:
        return lambda stored: 1.0 - window(modality(stored))
    return lambda stored: window(modality(stored))


def _full_range(plane: _Plane, modality: Tone) -> tuple[float, float] | None:
    if plane.stored.dtype != np.uint8 or plane.levels is None or plane.levels[-1] < 0:
        return None
    top = 2.0 ** min(plane.interpretation.bits_stored, 8) - 1.0
    low, high = modality(np.array([0.0, top]))
    return (float(low), float(high)) if low < high else None


def _render(plane: _Plane, tone: Tone) -> NDArray[np.float32]:
    """Float32 picture, padding black: the minimum of what is seen, after inversion (DICOM PS3.3 C.7.5.1.1.2)."""
    if plane.levels is not None:
        table = np.where(_is_image(plane.levels, plane.interpretation), tone(plane.levels), 0.0)
        return np.asarray(cv2.LUT(plane.stored, table.astype(np.float32)))
    inside = _is_image(plane.stored, plane.interpretation)
    values = _apply(tone, np.where(inside, plane.stored, 0), np.float32)
    values[~inside] = 0.0
    return values


def _apply(tone: Tone, stored: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
    values = np.empty(stored.shape, dtype)
    rows = max(1, _BLOCK // stored.shape[1])
    for first in range(0, stored.shape[0], rows):
        block = stored[first : first + rows].astype(np.float64)
        values[first : first + rows] = tone(block)
    return values


def _grey_distribution(greys: NDArray[Any], *, whole: bool) -> Distribution:
    """Of greys; ``whole``: thousandths of 8 bits, which are counted faster than sorted."""
    if not whole:
        return from_values(greys[np.isfinite(greys)])
    counts = np.zeros(255_001)
    rows = max(1, _BLOCK // greys.shape[1])
    for first in range(0, greys.shape[0], rows):
        codes = greys[first : first + rows].astype(np.intp).ravel()
        counts += np.bincount(codes, minlength=counts.size)
    return from_counts(np.arange(counts.size, dtype=np.float64), counts)


def _stretched(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    if high <= low:
        return (values > low).astype(np.float32)
    shifted = values if low == 0.0 else values - low
    single = np.divide(shifted, np.float32(high - low), dtype=np.float32, casting="same_kind")
    if values.dtype.kind == "f":
        np.nan_to_num(single, copy=False)
    return np.asarray(np.clip(single, 0.0, 1.0, out=single))


def _is_blank_picture(seen: Distribution, padded: float) -> bool:
    low, high = seen.percentiles(*_BLANK_PERCENTILES)
    share = seen.largest_share()
    if padded:
        share = max(share, seen.with_value(0.0, padded).largest_share())
    return share >= BLANK_EQUAL_SHARE or high - low < BLANK_RANGE


def _is_blank_stretch(plane: _Plane, modality: Tone) -> bool:
    """Too few stored steps behind a stretched picture."""
    if not plane.is_float:
        low, high = plane.unpadded.percentiles(*_BLANK_PERCENTILES)
        return high - low < BLANK_STEPS
    values = plane.unpadded.map(modality)
    if not values.values.size:
        return True
    low, high = values.percentiles(*_BLANK_PERCENTILES)
    return bool(high - low < BLANK_FLOAT * np.abs(values.values).max())
