"""The one preprocessing: what it makes of a frame, and where its cells lie."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from irmsia.imaging.geometry import Grid, apply_orientation, undo_orientation
from irmsia.imaging.preprocess import (
    ClaheSpec,
    Fingerprint,
    NormaliseSpec,
    PreprocessSpec,
    ResizeSpec,
)
from irmsia.imaging.types import Window
from tests.imaging.made import make_dicom_image, make_image, make_texture

METHODS: list[Any] = ["none", "minmax", "zscore", "imagenet"]


def spec_of(size: int = 64, method: Any = "zscore", **fields: Any) -> PreprocessSpec:
    """Make a small spec."""
    resize = ResizeSpec(size=size, **{key: fields.pop(key) for key in ("pad", "keep_aspect") if key in fields})
    return PreprocessSpec(resize=resize, normalise=NormaliseSpec(method=method), **fields)


def test_tensor_is_what_a_network_takes() -> None:
    """float32 (1, size, size), C-contiguous, the frame's number kept."""
    prepared = PreprocessSpec().apply(make_image(make_texture(100, 80, 255).astype(np.uint8)), 0)
    assert (prepared.tensor.dtype, prepared.tensor.shape) == (np.float32, (1, 160, 160))
    assert prepared.tensor.flags.c_contiguous and prepared.frame == 0 and not prepared.blank


def test_zscore_is_taken_over_the_picture_alone() -> None:
    """Mean 0 and standard deviation 1 without the padding, which holds 0."""
    tensor = spec_of(64).apply(make_image(make_texture(100, 50, 255).astype(np.uint8)), 0).tensor[0]
    inside = tensor[:, 16:48].astype(np.float64)
    assert inside.mean() == pytest.approx(0, abs=1e-6) and inside.std() == pytest.approx(1, abs=1e-6)
    assert not tensor[:, :16].any() and not tensor[:, 48:].any()


def test_pad_is_a_value_of_the_finished_tensor() -> None:
    """Padding is laid after normalising."""
    tensor = spec_of(64, "minmax", pad=-3.0).apply(make_image(make_texture(50, 100, 255).astype(np.uint8)), 0).tensor[0]
    assert (tensor[:16] == -3).all() and (tensor[16:48].min(), tensor[16:48].max()) == (0, 1)


def test_shrinking_averages_areas() -> None:
    """A whole factor is the exact mean of the blocks."""
    stored = make_texture(128, 128, 255).astype(np.uint8)
    tensor = spec_of(32, "none").apply(make_image(stored), 0).tensor[0]
    np.testing.assert_allclose(tensor, stored.reshape(32, 4, 32, 4).mean(axis=(1, 3)) / 255, atol=1e-6)


def test_enlarging_is_cubic_and_stays_within_the_range() -> None:
    """OpenCV's cubic, its overshoot cut off."""
    stored = np.zeros((16, 16), np.uint8)
    stored[:, 8:] = 255
    tensor = spec_of(64, "none").apply(make_image(stored), 0).tensor[0]
    expected = np.clip(cv2.resize(stored / np.float32(255), (64, 64), interpolation=cv2.INTER_CUBIC), 0, 1)
    np.testing.assert_allclose(tensor, expected, atol=1e-6)
    assert (tensor.min(), tensor.max()) == (0, 1)


def test_stretching_shrinks_one_axis_and_enlarges_the_other() -> None:
    """Without aspect the picture fills the square."""
    prepared = spec_of(64, "none", keep_aspect=False).apply(make_image(make_texture(256, 16, 255).astype(np.uint8)), 0)
    assert prepared.grid == Grid(1.5, -0.375, 4.0, 0.25)
    assert prepared.tensor.std() > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_pictures_do_not_divide_by_zero(method: Any, channels: Any) -> None:
    """Finite for black, grey and white, one pixel and an extreme aspect; blank all the same."""
    for shape in ((1, 1), (20, 20), (1, 500)):
        for level in (0, 100, 255):
            prepared = spec_of(64, method, channels=channels).apply(make_image(np.full(shape, level, np.uint8)), 0)
            assert np.isfinite(prepared.tensor).all() and prepared.blank
            if method in ("zscore", "minmax"):
                assert not prepared.tensor.any()


def test_imagenet_statistics_by_channel_and_for_grey() -> None:
    """torchvision's numbers on RGB; their mean and root mean square on one channel."""
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 0] = 255
    colour = spec_of(16, "imagenet", channels=3).apply(make_image(rgb, photometric="RGB"), 0).tensor
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(colour[:, 0, 0], expected, rtol=1e-6)
    grey = spec_of(16, "imagenet").apply(make_image(np.zeros((16, 16), np.uint8)), 0).tensor
    np.testing.assert_allclose(grey[0, 0, 0], -0.449 / 0.226, rtol=1e-4)


def test_three_channels_keep_colour_and_repeat_grey() -> None:
    """A swap of channels changes the tensor of a colour image, and its fingerprint."""
    rgb = np.stack([make_texture(40, 40, 255, seed) for seed in range(3)], -1).astype(np.uint8)
    spec = spec_of(32, "none", channels=3)
    straight, swapped = (spec.apply(make_image(p, photometric="RGB"), 0) for p in (rgb, rgb[..., ::-1].copy()))
    np.testing.assert_array_equal(straight.tensor[::-1], swapped.tensor)
    assert straight.fingerprint().difference(swapped.fingerprint()) > 1e-3
    grey = spec.apply(make_image(rgb[..., 0]), 0).tensor
    assert (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()


def test_clahe_spreads_faint_contrast() -> None:
    """An optional step before resizing, for grey and colour."""
    faint = (120 + make_texture(64, 64, 10)).astype(np.uint8)
    with_step, without = (spec_of(64, "none", clahe=clahe) for clahe in (ClaheSpec(clip_limit=40, tiles=2), None))
    assert with_step.apply(make_image(faint), 0).tensor.std() > 2 * without.apply(make_image(faint), 0).tensor.std()
    rgb = make_image(np.stack([faint] * 3, -1), photometric="RGB")
    assert spec_of(64, clahe=ClaheSpec(), channels=3).apply(rgb, 0).tensor.shape == (3, 64, 64)


def test_twins_give_equal_tensors() -> None:
    """PNG, colour JPEG with equal channels, DICOM with a whole-range window, MONOCHROME1: one tensor."""
    stored = make_texture(90, 70, 255).astype(np.uint8)
    whole = (Window(128, 256),)
    twins = [
        make_image(stored),
        make_image(np.stack([stored] * 3, -1), photometric="RGB"),
        make_dicom_image(stored, windows=whole),
        make_dicom_image(255 - stored, windows=whole, photometric="MONOCHROME1", inverted=True),
        make_dicom_image(stored.astype(np.int16) - 1024, intercept=1024, windows=whole),
    ]
    first, *others = (spec_of().apply(twin, 0).tensor for twin in twins)
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-6)


def test_spec_survives_json_and_refuses_unknown_keys() -> None:
    """The bundle holds the whole spec; a key that this version does not know is an error, at every level."""
    spec = spec_of(128, "imagenet", channels=3, clahe=ClaheSpec())
    assert PreprocessSpec.model_validate_json(spec.model_dump_json()) == spec
    for wrong in (
        {"gamma": 1},
        {"resize": {"crop": 3}},
        {"voi": {"level": 3}},
        {"version": 2},
        {"resize": {"size": 8}},
    ):
        with pytest.raises(ValidationError):
            PreprocessSpec.model_validate(wrong)
    with pytest.raises(ValidationError):
        spec.channels = 1  # type: ignore[misc]


def test_default_spec_is_the_starters() -> None:
    """Changing a default would change every bundle that leaves it out."""
    dumped = PreprocessSpec().model_dump()
    assert dumped["resize"] == {"size": 160, "keep_aspect": True, "shrink": "area", "enlarge": "cubic", "pad": 0.0}
    assert (dumped["voi"]["method"], dumped["normalise"], dumped["channels"]) == ("file", {"method": "zscore"}, 1)


def test_fingerprint_reduces_by_area_and_survives_json() -> None:
    """16 x 16 means, mean and standard deviation; stable between calls; sizes that 16 does not divide keep the mean."""
    image = make_image(make_texture(300, 200, 4095).astype(np.uint16))
    prepared = spec_of(64).apply(image, 0)
    found = prepared.fingerprint()
    blocks = prepared.tensor[0].astype(np.float64).reshape(16, 4, 16, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(found.reduced[0], blocks, atol=1e-12)
    assert found.difference(spec_of(64).apply(image, 0).fingerprint()) == 0
    assert Fingerprint.from_json(found.to_json()).difference(found) == 0
    odd = spec_of(100).apply(image, 0).fingerprint()
    assert odd.reduced.mean() == pytest.approx(odd.mean, abs=1e-9)


def test_fingerprints_of_another_shape_differ_and_broken_ones_are_refused() -> None:
    """A golden record of another spec cannot pass."""
    image = make_image(make_texture(30, 30, 255).astype(np.uint8))
    one, three = (spec_of(channels=channels).apply(image, 0).fingerprint() for channels in (1, 3))
    assert one.difference(three) == float("inf")
    with pytest.raises(ValueError, match="16 x 16"):
        Fingerprint.from_json({"reduced": [[1.0]], "mean": 0, "std": 1})


@pytest.mark.parametrize(
    "fault",
    ["interpolation", "normalisation", "window", "slope", "axes"],
)
def test_fingerprint_catches_the_faults_of_the_contract(fault: str) -> None:
    """Each moves it by far more than the 1e-4 that verification allows."""
    stored = make_texture(200, 150, 3000).astype(np.int16)
    look: dict[str, Any] = {"slope": 2.0, "windows": (Window(2000, 3000),)}
    right = spec_of(64).apply(make_dicom_image(stored, **look), 0)
    wrong = right.tensor
    if fault == "interpolation":
        seen = spec_of(64, "none").picture(make_dicom_image(stored, **look), 0).values
        small = cv2.resize(seen, (48, 64), interpolation=cv2.INTER_LINEAR)
        wrong = np.pad((small - small.mean()) / small.std(), ((0, 0), (8, 8)))[None].astype(np.float32)
    elif fault == "normalisation":
        wrong = spec_of(64, "minmax").apply(make_dicom_image(stored, **look), 0).tensor
    elif fault == "window":
        wrong = spec_of(64).apply(make_dicom_image(stored, slope=2.0), 0).tensor
    elif fault == "slope":
        wrong = spec_of(64).apply(make_dicom_image(stored, windows=look["windows"]), 0).tensor
    else:
        wrong = np.ascontiguousarray(right.tensor.swapaxes(1, 2))
    assert dataclasses.replace(right, tensor=wrong).fingerprint().difference(right.fingerprint()) > 1e-3


@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 9))
def test_undoing_an_orientation_gives_the_stored_picture(orientation: int, rows: int, columns: int) -> None:
    """For every EXIF orientation; and the way there is what Pillow and browsers do."""
    stored = np.arange(rows * columns).reshape(rows, columns)
    seen = apply_orientation(stored, orientation)
    np.testing.assert_array_equal(undo_orientation(seen, orientation), stored)
    assert seen.shape == ((columns, rows) if orientation >= 5 else (rows, columns))


def test_exif_orientations_turn_as_the_standard_says() -> None:
    """EXIF 2.3: what the 0th row and the 0th column of the stored picture are, as seen."""
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    turned = {
        1: [[1, 2, 3], [4, 5, 6]],
        2: [[3, 2, 1], [6, 5, 4]],
        3: [[6, 5, 4], [3, 2, 1]],
        4: [[4, 5, 6], [1, 2, 3]],
        5: [[1, 4], [2, 5], [3, 6]],
        6: [[4, 1], [5, 2], [6, 3]],
        7: [[6, 3], [5, 2], [4, 1]],
        8: [[3, 6], [2, 5], [1, 4]],
    }
    for orientation, expected in turned.items():
        assert apply_orientation(stored, orientation).tolist() == expected


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_marked_pixel_is_found_again_through_the_grid(data: st.DataObject) -> None:
    """Tensor turned back by the orientation, cell centres by the grid: the mark lies within its cell, for 1..8."""
    orientation = data.draw(st.integers(1, 8))
    rows, columns = data.draw(st.integers(3, 150)), data.draw(st.integers(3, 150))
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    stored = np.zeros((rows, columns), np.uint8)
    stored[row, column] = 255
    prepared = spec_of(48, "none", pad=-1.0).apply(make_image(stored, exif_orientation=orientation), 0)
    turned, grid = prepared.locate(prepared.tensor[0])
    assert grid == prepared.grid
    cell = np.unravel_index(int(turned.argmax()), turned.shape)
    found = grid.row0 + cell[0] * grid.row_step, grid.column0 + cell[1] * grid.column_step
    assert abs(found[0] - row) <= 0.5 + grid.row_step / 2 + 1e-9
    assert abs(found[1] - column) <= 0.5 + grid.column_step / 2 + 1e-9
    np.testing.assert_allclose(grid.cell_at(*found), cell, atol=1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cells_of_a_coarse_map_cover_the_tensor(orientation: int) -> None:
    """The mean of all cell centres of a map is that of the tensor's; steps grow by the factor."""
    image = make_image(make_texture(60, 90, 255).astype(np.uint8), exif_orientation=orientation)
    prepared = spec_of(48).apply(image, 0)
    turned, grid = prepared.locate(np.zeros((12, 6), np.float32))
    assert turned.shape == ((6, 12) if orientation >= 5 else (12, 6))
    centre = (
        grid.row0 + (turned.shape[0] - 1) / 2 * grid.row_step,
        grid.column0 + (turned.shape[1] - 1) / 2 * grid.column_step,
    )
    assert centre == pytest.approx((29.5, 44.5), abs=1.0)
    assert grid.row_step * turned.shape[0] == pytest.approx(prepared.grid.row_step * 48)


def test_blank_is_carried_along() -> None:
    """Rule 2 needs no second look at the pixels."""
    assert spec_of().apply(make_image(np.full((9, 9), 3, np.uint8)), 0).blank
    assert spec_of().apply(make_dicom_image(np.full((9, 9), 3.0, np.float32)), 0).blank
