"""The grey-scale pipeline of contract section 1, against its formulas and against pydicom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.pixels import apply_windowing

from irmsia.errors import InvalidRequestError, UnsupportedError
from irmsia.imaging import colour
from irmsia.imaging.distribution import from_counts, from_values
from irmsia.imaging.types import Image, Interpretation, Lut, Window
from irmsia.imaging.voi import grey, modality_values, picture
from irmsia.imaging.window import CT_PRESETS, VoiSource, VoiSpec, window_tone
from tests.imaging.made import make_dicom_image, make_image, make_texture

FILE = VoiSpec()


def tone(window: Window, *values: float) -> list[float]:
    """Return what the window makes of the values."""
    return [round(float(value), 6) for value in window_tone(window)(np.array(values))]


def seen(image: Image, spec: VoiSpec = FILE) -> np.ndarray[Any, Any]:
    """Return the picture 0..1."""
    return grey(image, 0, spec).values


def test_linear_window_follows_the_formula_of_the_standard() -> None:
    """C.11.2.1.2.1: black up to c - .5 - (w-1)/2, white above c - .5 + (w-1)/2; c=2048, w=4096 is its own example."""
    assert tone(Window(2048, 4096), -1, 0, 4095, 4096) == [0, 0, 1, 1]
    assert tone(Window(2048, 4096), 2047.5) == [0.5]
    assert tone(Window(100, 100), 50, 51, 149, 150) == [0, round(1 / 99, 6), 1, 1]


def test_linear_window_of_width_one_is_a_threshold() -> None:
    """C.11.2.1.2.1, second example: c=2048, w=1 turns white above 2047.5."""
    assert tone(Window(2048, 1), 2047, 2047.5, 2048) == [0, 0, 1]


def test_linear_exact_window_follows_the_formula_of_the_standard() -> None:
    """C.11.2.1.3.2: black up to c - w/2, white above c + w/2."""
    assert tone(Window(100, 100, "LINEAR_EXACT"), 50, 75, 100, 150, 151) == [0, 0.25, 0.5, 1, 1]


def test_sigmoid_window_follows_the_formula_of_the_standard() -> None:
    """C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w)); far values neither overflow nor warn."""
    assert tone(Window(10, 8, "SIGMOID"), 10, 12) == [0.5, round(1 / (1 + np.exp(-1)), 6)]
    assert tone(Window(0, 1e-6, "SIGMOID"), -1e9, 1e9) == [0, 1]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(function: str) -> None:
    """Another implementation gives the same picture, rescale included."""
    stored = make_texture(40, 50, 4095).astype(np.int16)
    dataset = pydicom.Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 12, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1000"
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = "1500", "3000", function
    theirs = apply_windowing(stored * 2.0 - 1000, dataset)
    low, high = 2 * -2048 - 1000, 2 * 2047 - 1000
    window = Window(1500, 3000, function)
    image = make_dicom_image(stored, slope=2, intercept=-1000, windows=(window,), bits_stored=12)
    np.testing.assert_allclose(seen(image), (theirs - low) / (high - low), atol=1e-6)


def test_voi_lut_comes_before_the_window_and_its_range_is_its_bits() -> None:
    """The file's first LUT wins; inputs beyond its ends are clamped; output 0 .. 2**bits - 1."""
    lut = Lut(first=10, values=np.array([0.0, 50.0, 100.0]), bits=8)
    image = make_dicom_image([[0, 10], [11, 90]], voi_luts=(lut,), windows=(Window(1, 2),))
    np.testing.assert_allclose(seen(image), np.array([[0, 0], [50, 100]]) / 255, atol=1e-7)
    assert grey(image, 0, FILE).voi.source is VoiSource.FILE_LUT


def test_modality_lut_replaces_the_rescale() -> None:
    """Modality LUT sequence first, else slope and intercept."""
    lut = Lut(first=1, values=np.array([100.0, 300.0]))
    image = make_dicom_image(np.array([[0, 1, 2, 3]], np.uint16), modality_lut=lut, slope=7, intercept=7)
    assert modality_values(image, 0).tolist() == [[100, 100, 300, 300]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_every_stored_type_gives_the_same_picture(dtype: Any) -> None:
    """Table look-up (up to 16 bits) and arithmetic (the rest) are one pipeline."""
    stored = make_texture(30, 40, 100)
    window = (Window(50.5, 101),)
    expected = stored / 100
    np.testing.assert_allclose(seen(make_dicom_image(stored.astype(dtype), windows=window)), expected, atol=1e-6)


def test_negative_stored_values_are_seen_as_negative() -> None:
    """Signed 16-bit values are looked up by their value, not by their bits."""
    stored = np.array([[-1024, 0], [40, 3071]], np.int16)
    image = make_dicom_image(stored, windows=(Window(40, 400),), units="HU")
    assert modality_values(image, 0).tolist() == stored.tolist()
    np.testing.assert_allclose(seen(image), [[0, 160 / 399], [200 / 399, 1]], atol=1e-6)


def test_monochrome1_twin_is_the_same_picture() -> None:
    """Stored upside down and inverted once after VOI, padding and windows mirrored with it: exactly equal."""
    stored = make_texture(60, 50, 4095).astype(np.uint16)
    stored[:, :5] = 0
    twin = (4095 - stored).astype(np.uint16)
    plain = make_dicom_image(stored, windows=(Window(2000, 1024),), padding=(0, 0), bits_stored=12)
    look = {"photometric": "MONOCHROME1", "inverted": True, "padding": (4095, 4095), "bits_stored": 12}
    inverted = make_dicom_image(twin, windows=(Window(4096 - 2000, 1024),), **look)
    np.testing.assert_allclose(seen(inverted), seen(plain), atol=1e-7)
    automatic = make_dicom_image(stored, padding=(0, 0), bits_stored=12)
    np.testing.assert_allclose(seen(make_dicom_image(twin, **look)), seen(automatic), atol=1e-7)


def test_padding_is_left_out_of_statistics_and_black() -> None:
    """A padded border changes nothing within, whatever its value, and is black, also in MONOCHROME1."""
    stored = make_texture(50, 50, 3000).astype(np.int16)
    bordered = np.pad(stored, 20, constant_values=-2000)
    bare = grey(make_dicom_image(stored), 0, FILE)
    for inverted in (False, True):
        padded = grey(make_dicom_image(bordered, padding=(-2000, -2000), inverted=inverted), 0, FILE)
        assert (padded.voi.center, padded.voi.width) == (bare.voi.center, bare.voi.width)
        assert padded.values[:20].max() == 0.0
    np.testing.assert_array_equal(padded.values[20:-20, 20:-20], seen(make_dicom_image(stored, inverted=True)))


def test_padding_range_is_inclusive() -> None:
    """Both ends of the range are padding."""
    image = make_dicom_image(np.array([[4, 5, 10, 11]], np.uint16), padding=(5, 10), windows=(Window(2.5, 4),))
    assert seen(image).tolist() == [[1, 0, 0, 1]]


def test_not_a_number_and_infinity_are_padding() -> None:
    """Float frames with holes give a finite picture."""
    stored = make_texture(20, 20, 100).astype(np.float32)
    stored[0, :3] = [np.nan, np.inf, -np.inf]
    found = seen(make_dicom_image(stored))
    assert np.isfinite(found).all()
    assert found[0, :3].tolist() == [0, 0, 0]


def test_automatic_voi_of_8_bits_outside_dicom_is_the_whole_range() -> None:
    """0..255 whatever occurs, not stretched; an automatic choice with its reason."""
    found = grey(make_image(np.array([[10, 200]], np.uint8)), 0, FILE)
    np.testing.assert_allclose(found.values, [[10 / 255, 200 / 255]], atol=1e-7)
    assert found.voi.automatic and not found.voi.stretched and "8 bits" in found.voi.reason


def test_automatic_voi_elsewhere_runs_between_percentiles() -> None:
    """P0.5 .. P99.5 of the values, as numpy defines them; 8 bits within DICOM too."""
    for stored in (make_texture(80, 90, 4000).astype(np.uint16), make_texture(80, 90, 250).astype(np.float32)):
        low, high = np.percentile(stored, [0.5, 99.5])
        found = grey(make_dicom_image(stored), 0, FILE)
        np.testing.assert_allclose(found.values, np.clip((stored - low) / (high - low), 0, 1), atol=1e-6)
        assert found.voi.automatic and found.voi.stretched and "P0.5..P99.5" in found.voi.reason
    assert grey(make_dicom_image(make_texture(9, 9, 200).astype(np.uint8)), 0, FILE).voi.stretched


def test_a_window_without_width_is_replaced_and_said_so() -> None:
    """A broken window does not make a blank picture."""
    image = make_dicom_image(make_texture(20, 20, 900).astype(np.uint16), windows=(Window(5, 0),))
    assert grey(image, 0, FILE).voi.reason.startswith("the file's window has no usable width")


def test_a_frame_has_its_own_interpretation_first() -> None:
    """Functional groups of the frame win over the file's."""
    pixels = np.zeros((2, 2, 2, 1), np.uint16)
    pixels[:, 0] = 100
    wide, narrow = (Interpretation("MONOCHROME2", 16, windows=(Window(50.5, w),)) for w in (401, 101))
    made = make_dicom_image(pixels[0, ..., 0])
    image = Image(made.info, wide, pixels, (4, 7), by_frame=(wide, narrow))
    assert grey(image, 4, FILE).values[0, 0] < grey(image, 7, FILE).values[0, 0] == 1.0


@pytest.mark.parametrize("name", sorted(CT_PRESETS))
def test_ct_presets_need_hounsfield_units(name: Any) -> None:
    """A preset is its window on CT, and a clear error on anything else."""
    stored = np.array([[-1000, 40, 1000]], np.int16)
    spec = VoiSpec(method="preset", preset=name)
    found = grey(make_dicom_image(stored, units="HU", windows=(Window(0, 2),)), 0, spec)
    np.testing.assert_allclose(found.values, window_tone(CT_PRESETS[name])(stored.astype(float)), atol=1e-6)
    with pytest.raises(InvalidRequestError, match="Hounsfield"):
        grey(make_dicom_image(stored), 0, spec)


def test_asked_for_window_and_percentiles_win_over_the_file() -> None:
    """Asked-for level and width, percentiles or automatic are used instead of the file's."""
    image = make_dicom_image(make_texture(30, 30, 1000).astype(np.uint16), windows=(Window(1, 2),))
    window = grey(image, 0, VoiSpec(method="window", center=500, width=400, function="LINEAR_EXACT"))
    assert (window.voi.source, window.voi.center, window.voi.width) == (VoiSource.REQUESTED, 500, 400)
    stretch = grey(image, 0, VoiSpec(method="percentile", low_percentile=0, high_percentile=100))
    assert (stretch.values.min(), stretch.values.max()) == (0, 1)
    assert grey(image, 0, VoiSpec(method="automatic")).voi.automatic


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "preset"},
        {"preset": "lung"},
        {"method": "window", "center": 1.0},
        {"method": "window", "center": 1.0, "width": 0.5},
        {"center": 1.0, "width": 2.0},
        {"method": "percentile", "low_percentile": 60, "high_percentile": 40},
        {"method": "window", "center": float("nan"), "width": 2.0},
        {"level": 3},
    ],
)
def test_voi_specs_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    """Half a window, a preset without its method, unknown keys, numbers that are none."""
    with pytest.raises(ValidationError):
        VoiSpec(**fields)


def test_rgb_becomes_grey_by_the_weights_of_the_contract() -> None:
    """.299 R + .587 G + .114 B of the whole range, unrounded; alpha is dropped."""
    rgba = np.array([[[255, 0, 0, 0], [0, 255, 0, 9], [0, 0, 255, 99], [255, 255, 255, 0]]], np.uint8)
    for image in (make_image(rgba, photometric="RGBA"), make_image(rgba[..., :3], photometric="RGB")):
        np.testing.assert_allclose(seen(image), [[0.299, 0.587, 0.114, 1]], atol=1e-7)


def test_grey_colours_equal_grey() -> None:
    """R = G = B gives exactly the picture of the grey file."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey_picture = seen(make_image(levels))
    np.testing.assert_array_equal(seen(make_image(np.stack([levels] * 3, -1), photometric="RGB")), grey_picture)
    with_alpha = np.stack([levels, 255 - levels], -1)
    np.testing.assert_array_equal(seen(make_image(with_alpha, photometric="GREY_ALPHA")), grey_picture)
    palette = np.stack([np.arange(256.0)] * 3, -1)
    np.testing.assert_array_equal(seen(make_image(levels, photometric="PALETTE COLOR", palette=palette)), grey_picture)


def test_16_bit_colour_is_seen_over_its_whole_range() -> None:
    """65535 is white."""
    rgb = np.array([[[65535, 65535, 65535], [0, 65535, 0]]], np.uint16)
    np.testing.assert_allclose(seen(make_image(rgb, photometric="RGB")), [[1, 0.587]], atol=1e-6)


def test_palette_indices_start_at_the_first_mapped_value_and_are_clamped() -> None:
    """DICOM PS3.3 C.7.6.3.1.5."""
    palette = np.array([[255.0, 0, 0], [0, 0, 255.0]])
    image = make_image(
        np.array([[0, 10, 11, 99]], np.uint8), photometric="PALETTE COLOR", palette=palette, palette_first=10
    )
    assert colour.to_rgb(image.frame(0), image.interpretation)[0].tolist() == [[255, 0, 0]] * 2 + [[0, 0, 255]] * 2


def test_ybr_full_becomes_rgb_as_pydicom_says() -> None:
    """Every corner of the colour cube, within one level of pydicom's conversion."""
    steps = np.array([0, 60, 128, 200, 255], np.uint8)
    ybr = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(25, 5, 3)
    ours = colour.to_rgb(ybr, Interpretation("YBR_FULL", 8))
    theirs = pydicom.pixels.convert_color_space(ybr.copy(), "YBR_FULL", "RGB")
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_colours_already_rgb_stay_and_unknown_ones_are_refused() -> None:
    """The reversible transform of JPEG 2000 has given RGB already."""
    rgb = np.array([[[9, 8, 7]]], np.uint8)
    assert colour.to_rgb(rgb, Interpretation("YBR_RCT", 8)).tolist() == rgb.tolist()
    with pytest.raises(UnsupportedError):
        colour.to_rgb(rgb, Interpretation("HSV", 8))


def test_cmyk_becomes_rgb() -> None:
    """Ink takes light away; the Adobe way of storing it is the other way round."""
    ink = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    expected = [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]
    assert colour.to_rgb(ink, Interpretation("CMYK", 8)).tolist() == expected
    assert colour.to_rgb(255 - ink, Interpretation("CMYK_INVERTED", 8)).tolist() == expected


def test_picture_keeps_colour_and_grey_alike() -> None:
    """`picture` is RGB for colour, the grey picture else; colour has no modality values."""
    rgb = np.array([[[255, 0, 51], [1, 2, 3]]], np.uint8)
    image = make_image(rgb, photometric="RGB")
    np.testing.assert_allclose(picture(image, 0, FILE).values * 255, rgb, atol=1e-4)
    assert picture(make_image(rgb[..., 0]), 0, FILE).values.shape == (1, 2)
    with pytest.raises(InvalidRequestError):
        modality_values(image, 0)


def blank(pixels: Any, **look: Any) -> bool:
    """Whether a DICOM frame of these pixels is blank."""
    return grey(make_dicom_image(pixels, **look), 0, FILE).blank


def test_constant_pictures_and_single_pixels_are_blank() -> None:
    """Rule 2: at least 98 % of the pixels equal after VOI, for every stored type and for colour."""
    for dtype in (np.uint8, np.int16, np.int32, np.float32):
        assert blank(np.full((20, 20), 7, dtype))
        assert blank(np.full((1, 1), 7, dtype))
    assert blank(np.full((9, 9), 7, np.uint16), padding=(7, 7))
    assert grey(make_image(np.full((9, 9, 3), 80, np.uint8), photometric="RGB"), 0, FILE).blank


def test_98_percent_of_equal_pixels_are_blank_and_97_are_not() -> None:
    """The share counts after VOI, where windowing has made unequal values equal."""
    stored = make_texture(100, 100, 1000, seed=3).astype(np.uint16) + 2000
    window = {"windows": (Window(500, 1000),)}
    for share, expected in ((0.98, True), (0.97, False)):
        dark = stored.copy().ravel()
        bright = int(share * dark.size)
        dark[bright:] = np.arange(dark.size - bright) % 900
        assert blank(dark.reshape(100, 100), **window) is expected


def test_pictures_of_hardly_any_contrast_are_blank() -> None:
    """P99.5 - P0.5 under 2 % of the range."""
    faint = (100 + make_texture(50, 50, 4)).astype(np.uint8)
    assert grey(make_image(faint), 0, FILE).blank
    assert not grey(make_image((100 + make_texture(50, 50, 12)).astype(np.uint8)), 0, FILE).blank


def test_a_stretched_picture_needs_four_stored_steps() -> None:
    """Automatic stretching must not turn three grey levels of noise into a picture; a slope makes no more steps."""
    for slope in (1.0, 50.0):
        assert blank((2000 + make_texture(50, 50, 3)).astype(np.uint16), slope=slope)
        assert not blank((2000 + make_texture(50, 50, 9)).astype(np.uint16), slope=slope)
    assert not blank((2000 + make_texture(50, 50, 3)).astype(np.uint16), windows=(Window(2002, 4),))


def test_a_stretched_float_picture_needs_a_millionth_of_its_magnitude() -> None:
    """Rounding noise on a large float constant is blank; the same picture around zero is not."""
    noise = make_texture(50, 50, 1000) / 1000.0
    assert blank(1e8 + noise)
    assert not blank(noise)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[int], percentile: float) -> None:
    """From counts as from the values themselves."""
    expected = float(np.percentile(values, percentile))
    exact = from_values(np.array(values, np.float64))
    counted = from_counts(*(np.array(part, np.float64) for part in np.unique(values, return_counts=True)))
    for distribution in (exact, counted):
        assert distribution.percentiles(percentile, percentile)[0] == pytest.approx(expected, abs=1e-9)


def test_doubles_that_would_overflow_are_no_part_of_the_picture() -> None:
    """Values near the end of doubles are black like NaN, and the others are stretched as if they were not there."""
    stored = make_texture(30, 40, 1000) / 1.0
    stored[0, :2] = [-1.7e308, 1.7e308]
    found = seen(make_dicom_image(stored))
    stored[0, :2] = np.nan
    np.testing.assert_array_equal(found, seen(make_dicom_image(stored)))
    assert np.isfinite(found).all()


def test_colour_floats_are_stretched_by_their_grey_and_stay_finite() -> None:
    """Nobody states the range of float colours; holes are black."""
    rgb = np.stack([make_texture(30, 40, 1000)] * 3, -1).astype(np.float32) - 300
    rgb[0, 0] = np.nan
    found = picture(make_image(rgb, photometric="RGB"), 0, FILE)
    assert found.voi.automatic and found.values.shape == (30, 40, 3)
    assert (found.values.min(), found.values.max()) == (0, 1)
    assert seen(make_image(rgb, photometric="RGB"))[0, 0] == 0
