"""Millimetres come from where the contract says, and from nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from irmsia.imaging.read import inspect
from irmsia.imaging.spacing import MEASURABLE
from irmsia.imaging.types import Spacing, SpacingSource
from tests.imaging.samples import LIMITS, make_dataset, write


def _spacing(frames: int = 1, **elements: Any) -> Spacing:
    pixels = np.zeros((frames, 4, 5, 1), np.uint16)
    return inspect(write(make_dataset(pixels, **elements)), LIMITS).spacing


def _region(units: int, down: float, across: float) -> Dataset:
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = units
    region.PhysicalDeltaY, region.PhysicalDeltaX = down, across
    return region


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": ["0.5", "0.25"]}, Spacing(None, 0.5, 0.25, SpacingSource.PIXEL)),
        (
            {"PixelSpacing": ["0.5", "0.25"], "PixelSpacingCalibrationType": "FIDUCIAL"},
            Spacing(None, 0.5, 0.25, SpacingSource.PIXEL_CALIBRATED),
        ),
        ({"ImagerPixelSpacing": ["0.2", "0.1"]}, Spacing(None, 0.2, 0.1, SpacingSource.IMAGER)),
        (
            {"PixelSpacing": ["0.2", "0.1"], "ImagerPixelSpacing": ["0.2", "0.1"]},
            Spacing(None, 0.2, 0.1, SpacingSource.IMAGER),
        ),
        (
            {"PixelSpacing": ["0.18", "0.09"], "ImagerPixelSpacing": ["0.2", "0.1"]},
            Spacing(None, 0.18, 0.09, SpacingSource.PIXEL),
        ),
        ({"SliceThickness": "5"}, Spacing()),
        ({"SpacingBetweenSlices": "-3"}, Spacing(3.0)),
        ({"PixelSpacing": ["0", "0.5"]}, Spacing()),
        ({"PixelSpacing": ["nan", "0.5"]}, Spacing()),
        ({}, Spacing()),
    ],
)
def test_spacing_and_its_source(elements: dict[str, Any], expected: Spacing) -> None:
    """Row spacing first, column spacing second; thickness is no spacing; impossible values are none."""
    assert _spacing(**elements) == expected


def test_ultrasound_regions() -> None:
    """Centimetres become millimetres; regions that disagree, or measure something else, give none."""
    one = _spacing(SequenceOfUltrasoundRegions=Sequence([_region(3, 0.02, 0.01), _region(4, 7, 7)]))
    assert (one.row_mm, one.column_mm, one.source) == (pytest.approx(0.2), 0.1, SpacingSource.ULTRASOUND_REGION)
    assert _spacing(SequenceOfUltrasoundRegions=Sequence([_region(3, 0.02, 0.01), _region(3, 0.03, 0.03)])) == Spacing()
    assert _spacing(SequenceOfUltrasoundRegions=Sequence([_region(4, 0.02, 0.01)])) == Spacing()


@pytest.mark.parametrize(("places", "step"), [((0, 2, 4), 2.0), ((4, 2, 0), 2.0), ((0, 2, 9), None)])
def test_slice_spacing_of_frames(places: tuple[float, ...], step: float | None) -> None:
    """Even distances along the normal are a spacing; uneven ones are none."""
    groups = []
    for place in places:
        plane, group = Dataset(), Dataset()
        plane.ImagePositionPatient = [1, 2, place]
        group.PlanePositionSequence = Sequence([plane])
        groups.append(group)
    spacing = _spacing(
        frames=3,
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    assert spacing.slice_mm == (None if step is None else pytest.approx(step))


def test_only_some_sources_may_measure() -> None:
    """The detector's plane and unknown spacing never give millimetres of the patient."""
    assert {SpacingSource.IMAGER, SpacingSource.NONE}.isdisjoint(MEASURABLE)
    assert len(MEASURABLE) == 3


@pytest.mark.data
def test_enhanced_multi_frame(data_dir: Path) -> None:
    """Spacing, orientation and position of functional groups."""
    info = inspect((data_dir / "dicom" / "more_highdicom" / "seg_image_ct_binary.dcm").read_bytes(), LIMITS)
    assert info.spacing.source is SpacingSource.PIXEL
    assert info.spacing.row_mm
    assert info.orientation is not None
    assert info.orientation.position is not None


def test_numbers_beyond_all_measure_are_no_spacing() -> None:
    """Deltas, offsets and positions near the end of doubles: no millimetres rather than infinite ones."""
    assert _spacing(SequenceOfUltrasoundRegions=Sequence([_region(3, 1.7e308, 1.7e308)])) == Spacing()
    assert _spacing(GridFrameOffsetVector=["1e308", "-1e308", "0"]) == Spacing()
    assert _spacing(PixelSpacing=["1e308", "1e308"], SpacingBetweenSlices="1e308") == Spacing()
