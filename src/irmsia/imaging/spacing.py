"""Millimetres between samples and where they come from (contract section 1; PS3.3 10.7.1.3, C.8.5.5, C.7.6.16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from irmsia.imaging.formats.functional_groups import first_group, group_of_frame, groups_of, shared_group
from irmsia.imaging.formats.header import DicomDataset, integer_of, value_of, values_of
from irmsia.imaging.types import FrameGeometry, ImageInfo, Orientation, Spacing, SpacingSource

_CENTIMETRE = 3  # Physical Units code, PS3.3 C.8.5.5.1.15
_MM_PER_CM = 10.0
_LARGEST = 1e9  # no length or cosine: sums and products of larger ones could leave the finite numbers
_UNEVEN = 0.01  # relative difference above which slices have no one spacing
_PLANAR_PAIR = 2
_COSINES = 6

MEASURABLE = frozenset({SpacingSource.PIXEL, SpacingSource.PIXEL_CALIBRATED, SpacingSource.ULTRASOUND_REGION})
"""Sources that may give millimetres; all others give pixels only."""


def read_spacing(dataset: DicomDataset) -> Spacing:
    """Spacing in millimetres and its source; no value where there is none that counts."""
    in_plane, source = _read_in_plane(dataset)
    row, column = in_plane or (None, None)
    return Spacing(_read_slice_spacing(dataset), row, column, source)


def _read_in_plane(dataset: DicomDataset) -> tuple[tuple[float, float] | None, SpacingSource]:
    imager = _pair(dataset, "ImagerPixelSpacing")
    pixel = _pair(dataset, "PixelSpacing") or _pair(first_group(dataset, "PixelMeasuresSequence"), "PixelSpacing")
    if pixel:
        if value_of(dataset, "PixelSpacingCalibrationType"):
            return pixel, SpacingSource.PIXEL_CALIBRATED
        # Equal to the detector's own spacing and not calibrated: it is the detector's (PS3.3 10.7.1.3).
        return pixel, SpacingSource.IMAGER if pixel == imager else SpacingSource.PIXEL
    if imager:
        return imager, SpacingSource.IMAGER
    region = _read_ultrasound(dataset)
    return (region, SpacingSource.ULTRASOUND_REGION) if region else (None, SpacingSource.NONE)


def _pair(dataset: DicomDataset | None, keyword: str) -> tuple[float, float] | None:
    numbers = _numbers(dataset, keyword)
    if len(numbers) != _PLANAR_PAIR or min(numbers) <= 0:
        return None
    return numbers[0], numbers[1]


def _numbers(dataset: DicomDataset | None, keyword: str) -> tuple[float, ...]:
    if dataset is None:
        return ()
    try:
        numbers = tuple(float(value) for value in values_of(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()
    return numbers if all(abs(number) <= _LARGEST for number in numbers) else ()  # neither is NaN


def _read_ultrasound(dataset: DicomDataset) -> tuple[float, float] | None:
    """The one spacing of all regions measured in centimetres both ways; None where they disagree."""
    found = set()
    for region in values_of(dataset, "SequenceOfUltrasoundRegions"):
        units = {integer_of(region, "PhysicalUnitsXDirection"), integer_of(region, "PhysicalUnitsYDirection")}
        down, across = _numbers(region, "PhysicalDeltaY"), _numbers(region, "PhysicalDeltaX")
        if units == {_CENTIMETRE} and down and across and down[0] and across[0]:
            found.add((abs(down[0]) * _MM_PER_CM, abs(across[0]) * _MM_PER_CM))
    return found.pop() if len(found) == 1 else None


def _read_slice_spacing(dataset: DicomDataset) -> float | None:
    """SpacingBetweenSlices, else the even distance of the frames' positions. SliceThickness is no spacing."""
    measures = first_group(dataset, "PixelMeasuresSequence")
    for place in (dataset, measures):
        stated = _numbers(place, "SpacingBetweenSlices")
        if stated and stated[0]:
            return abs(stated[0])
    return _even_step(_offsets(dataset))


def _offsets(dataset: DicomDataset) -> Sequence[float]:
    """Positions of the frames along the normal, millimetres."""
    grid = _numbers(dataset, "GridFrameOffsetVector")
    groups = groups_of(dataset)
    orientation = read_orientation(dataset) if groups and not grid else None
    if orientation is None:
        return grid
    normal = _cross(orientation.row_cosine, orientation.column_cosine)
    positions = []
    for group in groups:
        position = _numbers(group_of_frame(group, "PlanePositionSequence"), "ImagePositionPatient")
        if len(position) == len(normal):
            positions.append(sum(a * b for a, b in zip(position, normal, strict=True)))
    return positions


def _even_step(offsets: Sequence[float]) -> float | None:
    places = sorted({round(offset, 3) for offset in offsets})
    steps = [b - a for a, b in pairwise(places)]
    if not steps or max(steps) - min(steps) > _UNEVEN * max(steps):
        return None
    return sum(steps) / len(steps)


def _cross(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def read_orientation(dataset: DicomDataset) -> Orientation | None:
    """Position of the first pixel and direction cosines, LPS+; None without ImageOrientationPatient."""
    cosines = _numbers(dataset, "ImageOrientationPatient") or _numbers(
        first_group(dataset, "PlaneOrientationSequence"), "ImageOrientationPatient"
    )
    position = _numbers(dataset, "ImagePositionPatient") or _numbers(
        first_group(dataset, "PlanePositionSequence"), "ImagePositionPatient"
    )
    return _orientation(cosines, position)


def _orientation(cosines: tuple[float, ...], position: tuple[float, ...]) -> Orientation | None:
    if len(cosines) != _COSINES:
        return None
    return Orientation(_triple(position), _triple(cosines[:3]) or (0, 0, 0), _triple(cosines[3:]) or (0, 0, 0))


def _triple(numbers: tuple[float, ...]) -> tuple[float, float, float] | None:
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def frame_geometry(dataset: DicomDataset, info: ImageInfo) -> Callable[[int], FrameGeometry] | None:
    """A function from a frame's number to its geometry, null without functional groups of each frame.

    ``info`` holds the geometry of the file, that of frame 0; what a frame's own groups do not say is taken from
    the shared ones and the file.
    """
    groups = groups_of(dataset)
    if info.shape is None or len(groups) != info.shape[0]:
        return None
    return lambda frame: _geometry_of(groups[frame], dataset, info)


def _geometry_of(group: DicomDataset, dataset: DicomDataset, info: ImageInfo) -> FrameGeometry:
    measures = _own_or_shared(group, dataset, "PixelMeasuresSequence")
    pixel = _pair(measures, "PixelSpacing")
    spacing = info.spacing
    if pixel is not None:
        calibrated = spacing.source is SpacingSource.PIXEL_CALIBRATED
        source = spacing.source if calibrated else SpacingSource.PIXEL
        spacing = replace(spacing, row_mm=pixel[0], column_mm=pixel[1], source=source)
    thickness = _numbers(measures, "SliceThickness")
    place = _own_or_shared(group, dataset, "PlanePositionSequence")
    turn = _own_or_shared(group, dataset, "PlaneOrientationSequence")
    return FrameGeometry(
        spacing,
        thickness[0] if thickness else info.slice_thickness_mm,
        _orientation(_numbers(turn, "ImageOrientationPatient"), _numbers(place, "ImagePositionPatient"))
        or info.orientation,
    )


def _own_or_shared(group: DicomDataset, dataset: DicomDataset, keyword: str) -> DicomDataset | None:
    own = group_of_frame(group, keyword)
    return own if own is not None else shared_group(dataset, keyword)
