"""How DICOM stored values become a grey picture: LUTs, windows, padding, palette, per frame where groups say so."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from irmsia.errors import InconsistentHeaderError
from irmsia.imaging.formats.functional_groups import group_of_frame, groups_of, shared_group
from irmsia.imaging.formats.header import DicomDataset, PixelHeader, integer_of, value_of, values_of
from irmsia.imaging.formats.palette import read_palette, table_entries
from irmsia.imaging.types import Interpretation, Lut, Window

_DESCRIPTOR = 3
_FULL_TABLE = 1 << 16
_LARGEST_RESCALE = 1e30  # what it makes of 32 bits stays far from the end of doubles
_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
_VOI_GROUP, _MODALITY_GROUP = "FrameVOILUTSequence", "PixelValueTransformationSequence"


def read_interpretation(dataset: DicomDataset, header: PixelHeader) -> Interpretation:
    """How all frames are to be looked at, unless a frame's own functional groups say otherwise.

    Raises:
        InconsistentHeaderError: a palette image without a usable palette, or a rescale out of all range.
    """
    signed = header.kind == "i"
    palette, first = read_palette(dataset) if header.photometric == "PALETTE COLOR" else (None, 0)
    look = Interpretation(
        photometric=header.photometric,
        bits_stored=header.stored,
        signed=signed,
        modality_lut=_first_lut(dataset, "ModalityLUTSequence", signed),
        padding=_padding(dataset, header),
        inverted=_is_inverted(dataset, header),
        palette=palette,
        palette_first=first,
    )
    hounsfield = _may_be_hounsfield(dataset)
    look = _with_voi(_with_rescale(look, dataset, hounsfield), dataset)
    look = _with_rescale(look, shared_group(dataset, _MODALITY_GROUP), hounsfield)
    return _with_voi(look, shared_group(dataset, _VOI_GROUP))


def read_frame_interpretations(
    dataset: DicomDataset, look: Interpretation, *, frames: int
) -> tuple[Interpretation, ...]:
    """One interpretation a frame where functional groups make them differ, else ()."""
    groups = groups_of(dataset)
    if len(groups) != frames:
        return ()
    hounsfield = _may_be_hounsfield(dataset)
    looks = []
    for group in groups:
        own = _with_rescale(look, group_of_frame(group, _MODALITY_GROUP), hounsfield)
        looks.append(_with_voi(own, group_of_frame(group, _VOI_GROUP)))
    return tuple(looks) if any(own is not look for own in looks) else ()


def _may_be_hounsfield(dataset: DicomDataset) -> bool:
    """CT but for localizers, whose values are projections (PS3.3 C.8.2.1.1.1)."""
    kinds = {str(kind).strip().upper() for kind in values_of(dataset, "ImageType")}
    return str(value_of(dataset, "Modality") or "").strip().upper() == "CT" and "LOCALIZER" not in kinds


def _with_rescale(look: Interpretation, place: DicomDataset | None, hounsfield: bool) -> Interpretation:
    slope, intercept = _number(place, "RescaleSlope"), _number(place, "RescaleIntercept")
    if place is None or (slope is None and intercept is None):
        return look
    if max(abs(slope or 0.0), abs(intercept or 0.0)) > _LARGEST_RESCALE:
        raise InconsistentHeaderError("RescaleSlope or RescaleIntercept is out of all range")
    # A modality LUT goes before the rescale, and its units are its own.
    stated = str(value_of(place, "RescaleType") or "HU").strip().upper()
    units = stated if stated != "HU" or (hounsfield and look.modality_lut is None) else None
    # A slope of zero would make every picture blank; PS3.3 C.11.1.1.2 forbids it.
    return replace(look, slope=slope or 1.0, intercept=intercept or 0.0, units=units)


def _with_voi(look: Interpretation, place: DicomDataset | None) -> Interpretation:
    """``look`` is rescaled already: a VOI LUT begins at a negative value where the rescale can give one."""
    if place is None:
        return look
    luts = _luts(place, "VOILUTSequence", look.signed or look.intercept < 0 or look.slope < 0)
    windows = _windows(place)
    if not luts and not windows:
        return look
    return replace(look, voi_luts=luts, windows=windows)


def _windows(place: DicomDataset) -> tuple[Window, ...]:
    function = str(value_of(place, "VOILUTFunction") or "LINEAR").strip().upper()
    if function not in _FUNCTIONS:
        function = "LINEAR"
    centers, widths = values_of(place, "WindowCenter"), values_of(place, "WindowWidth")
    pairs = [(_finite(c), _finite(w)) for c, w in zip(centers, widths, strict=False)]
    least = 1.0 if function == "LINEAR" else 0.0
    return tuple(
        Window(center, width, function)
        for center, width in pairs
        if center is not None and width is not None and width > 0 and width >= least
    )


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _number(place: DicomDataset | None, keyword: str) -> float | None:
    values = values_of(place, keyword) if place is not None else ()
    return _finite(values[0]) if values else None


def _is_inverted(dataset: DicomDataset, header: PixelHeader) -> bool:
    if header.photometric == "MONOCHROME1":
        return True
    shape = str(value_of(dataset, "PresentationLUTShape") or "").strip().upper()
    return header.photometric == "MONOCHROME2" and shape == "INVERSE"


def _padding(dataset: DicomDataset, header: PixelHeader) -> tuple[float, float] | None:
    value = _stored_value(dataset, "PixelPaddingValue", header)
    if value is None:
        return None
    limit = _stored_value(dataset, "PixelPaddingRangeLimit", header)
    other = value if limit is None else limit
    return float(min(value, other)), float(max(value, other))


def _stored_value(dataset: DicomDataset, keyword: str, header: PixelHeader) -> float | None:
    """A value of VR "US or SS", brought to the signedness of the pixels whatever VR the writer chose."""
    if header.kind == "f":
        return _number(dataset, keyword)
    value = integer_of(dataset, keyword)
    if value is None:
        return None
    if header.kind == "i" and value >= 1 << 15 and header.allocated <= 16:
        return value - (1 << 16)
    return value + (1 << 16) if header.kind == "u" and value < 0 else value


def _first_lut(dataset: DicomDataset, keyword: str, signed: bool) -> Lut | None:
    luts = _luts(dataset, keyword, signed)
    return luts[0] if luts else None


def _luts(place: DicomDataset, keyword: str, signed: bool) -> tuple[Lut, ...]:
    return tuple(lut for item in values_of(place, keyword) if isinstance(item, Dataset) and (lut := _lut(item, signed)))


def _lut(item: DicomDataset, signed: bool) -> Lut | None:
    """A LUT item, PS3.3 C.11.1.1.1; None where its data do not fit its descriptor."""
    descriptor = [_integer(value) for value in values_of(item, "LUTDescriptor")]
    if len(descriptor) != _DESCRIPTOR or None in descriptor:
        return None
    entries, first, bits = (int(value or 0) for value in descriptor)
    entries = entries % _FULL_TABLE or _FULL_TABLE
    first = first - _FULL_TABLE if signed and first >= _FULL_TABLE // 2 else first
    values = table_entries(item, value_of(item, "LUTData"), entries)
    if values is None or not 1 <= bits <= 16:
        return None
    return Lut(first, values.astype(np.float64), bits)


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def check_palette_indices(frame: NDArray[Any], look: Interpretation) -> None:
    """Refuse a frame whose indices point outside its palette.

    Raises:
        InconsistentHeaderError: an index below the first or above the last entry.
    """
    if look.palette is None or not frame.size:
        return
    last = look.palette_first + len(look.palette) - 1
    if int(frame.min()) < look.palette_first or int(frame.max()) > last:
        raise InconsistentHeaderError("a palette index outside the palette")
