"""Windows, LUTs and presets through whole files whose pictures are known in closed form (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from irmsia.cli import image
from irmsia.errors import InvalidRequestError
from irmsia.imaging.clahe import ClaheSpec, apply_clahe
from irmsia.imaging.presets import MR_PERCENTILES, PRESETS, PresetName
from irmsia.imaging.read import read_image
from irmsia.imaging.render import render_seen
from irmsia.imaging.types import Orientation, SpacingSource
from irmsia.imaging.voi import GreyPicture, grey, picture
from irmsia.imaging.window import VoiSource, VoiSpec
from tests.imaging.samples import LIMITS, make_dataset, write
from tests.imaging.samples import picture as picture_file

FILE = VoiSpec()
RAMP = np.arange(1 << 16, dtype=np.uint16).reshape(1, 256, 256, 1)


def seen(frames: NDArray[Any], spec: VoiSpec = FILE, *, frame: int = 0, **elements: Any) -> GreyPicture:
    """The picture of one frame of a DICOM file of these stored values and elements."""
    return grey(read_image(write(make_dataset(frames, **elements)), LIMITS), frame, spec)


def flat(shown: GreyPicture) -> NDArray[np.float64]:
    """Its values in the order of the stored pixels."""
    return shown.values.astype(np.float64).ravel()


def standard(function: str, x: NDArray[np.float64], c: float, w: float) -> NDArray[np.float64]:
    """The three formulas as PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 write them, output 0..1."""
    if function == "SIGMOID":
        return (1.0 + np.tanh(2.0 * (x - c) / w)) / 2.0  # 1 / (1 + exp(-4 u)) is (1 + tanh(2 u)) / 2
    if function == "LINEAR_EXACT":
        low, high, inside = x <= c - w / 2, x > c + w / 2, (x - c) / w + 0.5
    else:
        low, high = x <= c - 0.5 - (w - 1) / 2, x > c - 0.5 + (w - 1) / 2
        inside = (x - (c - 0.5)) / (w - 1) + 0.5 if w > 1 else np.zeros_like(x)
    return np.where(low, 0.0, np.where(high, 1.0, inside))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(
    ("center", "width"), [(2048, 4096), (40, 400), (-600, 1500), (0.5, 1), (30000.25, 65535.5), (100, 2)]
)
@pytest.mark.parametrize(
    ("dtype", "slope", "intercept"),
    [(np.uint16, 1.0, 0.0), (np.int16, 1.0, -1024.0), (np.int16, 0.5, 3.25), (np.uint16, -2.0, 40000.0)],
)
def test_every_16_bit_value_through_every_function(
    function: str, center: float, width: float, dtype: Any, slope: float, intercept: float
) -> None:
    """All 65,536 values of a file, signed or not, rescaled, through the file's window: the standard's own formula."""
    stored = RAMP.view(dtype)
    found = seen(
        stored,
        RescaleSlope=str(slope),
        RescaleIntercept=str(intercept),
        WindowCenter=str(center),
        WindowWidth=str(width),
        VOILUTFunction=function,
    )
    modality = stored.ravel().astype(np.float64) * slope + intercept
    np.testing.assert_allclose(flat(found), standard(function, modality, center, width), atol=1e-6)
    assert (found.voi.source, found.voi.function) == (VoiSource.FILE_WINDOW, function)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_level_and_width_asked_for_win_and_monochrome1_is_turned_once(function: Any) -> None:
    """Asked for 60 / 160 over a file's own window; MONOCHROME1 shows one minus it."""
    spec = VoiSpec(method="window", center=60, width=160, function=function)
    expected = standard(function, RAMP.ravel().astype(float), 60, 160)
    window = {"WindowCenter": "9", "WindowWidth": "9"}
    np.testing.assert_allclose(flat(seen(RAMP, spec, **window)), expected, atol=1e-6)
    turned = seen(RAMP, spec, PhotometricInterpretation="MONOCHROME1", **window)
    np.testing.assert_allclose(flat(turned), 1.0 - expected, atol=1e-6)


def make_lut(first: int, values: NDArray[np.uint16], bits: int) -> Dataset:
    """One item of a LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(values) % 65536, first % 65536, bits])
    item.add_new(0x00283006, "OW", values.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize(
    ("first", "bits", "entries"), [(0, 8, 256), (500, 12, 1000), (60_000, 16, 5536), (0, 16, 65536)]
)
def test_a_voi_lut_maps_as_its_descriptor_says(first: int, bits: int, entries: int) -> None:
    """A square root as table: entry x - first, both ends held, output over 2**bits - 1."""
    top = 2**bits - 1
    table = np.rint(np.sqrt(np.arange(entries) / (entries - 1)) * top).astype(np.uint16)
    found = seen(RAMP, VOILUTSequence=[make_lut(first, table, bits)], WindowCenter="1", WindowWidth="2")
    position = np.clip(RAMP.ravel().astype(int) - first, 0, entries - 1)
    np.testing.assert_allclose(flat(found), table[position] / top, atol=1e-6)
    assert found.voi.source is VoiSource.FILE_LUT


def test_a_modality_lut_comes_first_and_replaces_the_rescale() -> None:
    """Stored -> modality LUT -> window; a rescale beside the LUT is passed over."""
    table = (np.arange(4096, dtype=np.uint16)[::-1] * 3).astype(np.uint16)
    item = make_lut(0, table, 16)
    item.ModalityLUTType = "OD"
    found = seen(
        RAMP,
        ModalityLUTSequence=[item],
        RescaleSlope="7",
        RescaleIntercept="7",
        WindowCenter="6000",
        WindowWidth="8000",
    )
    modality = table[np.clip(RAMP.ravel().astype(int), 0, 4095)].astype(float)
    np.testing.assert_allclose(flat(found), standard("LINEAR", modality, 6000, 8000), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "center", "width"),
    [("soft_tissue", 40, 400), ("lung", -600, 1500), ("bone", 400, 1800), ("brain", 40, 80), ("mediastinum", 50, 350)],
)
def test_ct_presets_are_windows_of_hounsfield_units(name: Any, center: float, width: float) -> None:
    """A CT file of stored value HU + 1024, through each preset by name."""
    stored = np.arange(4096, dtype=np.uint16).reshape(1, 64, 64, 1)
    found = seen(stored, VoiSpec(method="preset", preset=name), RescaleSlope="1", RescaleIntercept="-1024")
    expected = standard("LINEAR", stored.ravel() - 1024.0, center, width)
    np.testing.assert_allclose(flat(found), expected, atol=1e-6)


def stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Linear between two values."""
    return np.clip((values.ravel().astype(np.float64) - low) / (high - low), 0.0, 1.0)


def preset(name: Any) -> VoiSpec:
    """A preset by name."""
    return VoiSpec(method="preset", preset=name)


@pytest.mark.parametrize("name", ["xray", "default"])
def test_the_x_ray_preset_runs_between_percentiles(name: str) -> None:
    """P1 and P99 of a ramp 0..65535 are .01 and .99 of 65535."""
    found = seen(RAMP, preset(name), Modality="DX", WindowCenter="1", WindowWidth="2")
    np.testing.assert_allclose(flat(found), stretch(RAMP, 655.35, 64879.65), atol=1e-6)
    assert "preset xray" in found.voi.reason and "P1..P99" in found.voi.reason


@pytest.mark.parametrize("name", ["mammography", "default"])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_the_mammography_preset_leaves_the_air_out(name: str, photometric: str) -> None:
    """Half of the picture one value, the other half a ramp of n: percentiles of the ramp alone."""
    stored = RAMP.copy()
    stored[:, :128] = 7
    breast = stored[:, 128:].ravel().astype(float)
    low, high = breast[0] + 0.01 * (breast.size - 1), breast[0] + 0.998 * (breast.size - 1)
    found = seen(stored, preset(name), Modality="MG", PhotometricInterpretation=photometric)
    expected = stretch(stored, low, high)
    np.testing.assert_allclose(flat(found), 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-6)


@pytest.mark.parametrize(("stored_bits", "top"), [(8, 255), (12, 4095), (16, 65535)])
def test_the_ultrasound_preset_is_the_whole_range_of_the_bits(stored_bits: int, top: int) -> None:
    """White is the largest value that the bits can hold, whatever occurs; signed values from the least one."""
    stored = np.arange(200, dtype=np.uint16).reshape(1, 10, 20, 1)
    found = seen(stored, preset("ultrasound"), Modality="US", BitsStored=stored_bits, HighBit=stored_bits - 1)
    np.testing.assert_allclose(flat(found), stored.ravel() / top, atol=1e-6)
    signed = seen(stored.astype(np.int16), preset("default"), Modality="US", BitsStored=12, HighBit=11)
    np.testing.assert_allclose(flat(signed), (stored.ravel() + 2048.0) / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("elements", "low", "high", "word"),
    [
        ({"SeriesDescription": "T1"}, 1, 99, "T1"),
        ({"SeriesDescription": "T2"}, 1, 99.5, "T2"),
        ({"SeriesDescription": "FLAIR"}, 1, 99.5, "FLAIR"),
        ({"DiffusionBValue": 1000.0}, 1, 99.8, "DWI"),
        ({}, 0.5, 99.5, "not known"),
    ],
)
def test_the_mr_preset_goes_by_the_guessed_sequence(
    elements: dict[str, Any], low: float, high: float, word: str
) -> None:
    """Percentiles of the table, of a ramp 0..65535, and the guess is told."""
    found = seen(RAMP, preset("mr"), Modality="MR", **elements)
    np.testing.assert_allclose(flat(found), stretch(RAMP, 655.35 * low, 655.35 * high), atol=1e-6)
    assert word in found.voi.reason


@pytest.mark.parametrize(("name", "modality"), [("mr", "CT"), ("xray", "US"), ("ultrasound", "MR"), ("lung", "DX")])
def test_presets_of_another_modality_are_refused(name: str, modality: str) -> None:
    """A clear error, never a wrong picture."""
    with pytest.raises(InvalidRequestError):
        seen(RAMP, preset(name), Modality=modality)


def test_the_default_preset_knows_region_and_units() -> None:
    """CT of the brain: brain; other CT: soft tissue; localizers and other modalities: automatic."""
    reasons = [
        seen(RAMP, preset("default"), RescaleSlope="1", RescaleIntercept="-1024", **elements).voi.reason
        for elements in (
            {"BodyPartExamined": "HEAD"},
            {"BodyPartExamined": "CHEST"},
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            {"Modality": "NM"},
        )
    ]
    assert [reason.split()[1] for reason in reasons[:2]] == ["brain", "soft_tissue"]
    assert all(reason.startswith("no preset suits this image") for reason in reasons[2:])


def test_every_preset_is_on_the_page_and_on_the_command_line() -> None:
    """docs/windowing.md and `image show --help` hold each preset, with its numbers, and no other."""
    page = Path(__file__).resolve().parents[2] / "docs" / "windowing.md"
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\| (.*) \|$", page.read_text("utf-8"), re.MULTILINE))
    assert set(rows) == set(get_args(PresetName)) == {*PRESETS, "default"} == set(image.PRESETS.split())
    for name, row in PRESETS.items():
        if row.window is not None:
            assert rows[name] == f"level {row.window.center:g}, width {row.window.width:g}"
        elif row.percentiles is not None:
            assert f"P{row.percentiles[0]:g} to P{row.percentiles[1]:g}".replace("P0.", "P.") in rows[name]
    for label, (low, high) in MR_PERCENTILES.items():
        assert re.search(rf"{label}\b[^;]* P{low:g} to P{high:g}(?=;|,| |$)", rows["mr"]), label


def make_group(**groups: Dataset) -> Dataset:
    """One item of a functional groups sequence."""
    item = Dataset()
    for keyword, content in groups.items():
        setattr(item, keyword, [content])
    return item


def make_content(**elements: Any) -> Dataset:
    """The one item of a functional group."""
    content = Dataset()
    for keyword, value in elements.items():
        setattr(content, keyword, value)
    return content


def test_functional_groups_give_each_frame_its_own_rescale_and_window() -> None:
    """The frame's own groups win over the shared ones, those over the file; what is not said comes from further out."""
    frames = np.repeat(np.arange(2000, dtype=np.uint16).reshape(1, 40, 50, 1), 4, axis=0)
    rescale = make_content(RescaleSlope="2", RescaleIntercept="-100", RescaleType="US")
    wide = make_content(WindowCenter="1000", WindowWidth="2001", VOILUTFunction="LINEAR_EXACT")
    sigmoid = make_content(WindowCenter="500", WindowWidth="300", VOILUTFunction="SIGMOID")
    shared = make_group(PixelValueTransformationSequence=rescale, FrameVOILUTSequence=wide)
    own = make_content(RescaleSlope="1", RescaleIntercept="0", RescaleType="US")
    table = make_content(VOILUTSequence=[make_lut(0, np.arange(256, dtype=np.uint16), 8)])
    elements = {
        "WindowCenter": "3",
        "WindowWidth": "3",
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": [
            make_group(),
            make_group(FrameVOILUTSequence=sigmoid),
            make_group(PixelValueTransformationSequence=own, FrameVOILUTSequence=sigmoid),
            make_group(PixelValueTransformationSequence=own, FrameVOILUTSequence=table),
        ],
    }
    x = frames[0].ravel().astype(float)
    expected = [
        standard("LINEAR_EXACT", 2 * x - 100, 1000, 2001),
        standard("SIGMOID", 2 * x - 100, 500, 300),
        standard("SIGMOID", x, 500, 300),
        np.clip(x, 0, 255) / 255,
    ]
    for frame, wanted in enumerate(expected):
        found = seen(frames, frame=frame, Modality="MR", **elements)
        np.testing.assert_allclose(flat(found), wanted, atol=1e-6, err_msg=str(frame))


def test_functional_groups_give_each_frame_its_own_place() -> None:
    """Spacing, thickness, position and orientation: the frame's own, else the shared ones."""
    frames = np.zeros((3, 4, 5, 1), np.uint16)
    near = make_content(PixelSpacing=["0.5", "0.25"], SliceThickness="3")
    far = make_content(PixelSpacing=["2", "1"], SliceThickness="7")
    turned = make_content(ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])
    flat_plane = make_content(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])
    places = [make_content(ImagePositionPatient=["0", "0", str(z)]) for z in (0, 5, 10)]
    dataset = make_dataset(
        frames,
        SharedFunctionalGroupsSequence=[make_group(PixelMeasuresSequence=near, PlaneOrientationSequence=flat_plane)],
        PerFrameFunctionalGroupsSequence=[
            make_group(PlanePositionSequence=places[0]),
            make_group(PlanePositionSequence=places[1], PixelMeasuresSequence=far),
            make_group(PlanePositionSequence=places[2], PlaneOrientationSequence=turned),
        ],
    )
    read = read_image(write(dataset), LIMITS, frames=lambda total: (0, 1, 2))
    spacings = [(place.spacing.row_mm, place.spacing.column_mm, place.slice_thickness_mm) for place in read.geometry]
    assert spacings == [(0.5, 0.25, 3.0), (2.0, 1.0, 7.0), (0.5, 0.25, 3.0)]
    assert {place.spacing.source for place in read.geometry} == {SpacingSource.PIXEL}
    assert read.geometry[1].orientation == Orientation((0, 0, 5), (1, 0, 0), (0, 1, 0))
    assert read.geometry[2].orientation == Orientation((0, 0, 10), (0, 1, 0), (0, 0, -1))
    assert read.info.spacing.row_mm == 0.5


def test_clahe_comes_after_the_window() -> None:
    """`image show --clahe` equalises what the window shows; the VOI told stays the same."""
    stored = np.rint(1000 + 40 * np.random.default_rng(5).random((1, 64, 64, 1))).astype(np.uint16)
    read = read_image(write(make_dataset(stored, WindowCenter="1020", WindowWidth="400")), LIMITS)
    spec = ClaheSpec(clip_limit=4.0, tiles=4)
    plain, used = render_seen(read, 0, FILE)
    equalised, told = render_seen(read, 0, FILE, spec)
    assert used == told
    expected = np.rint(apply_clahe(grey(read, 0, FILE).values, spec) * 255)
    np.testing.assert_array_equal(equalised, expected.astype(np.uint8))
    assert equalised.std() > 2 * plain.std()


def test_what_the_codestream_says_of_colour_holds_for_frames_with_groups_of_their_own() -> None:
    """JPEG frames decoded to RGB are not converted again because functional groups gave them a window."""
    row, column = np.mgrid[:32, :48]
    rgb = np.stack([row * 7, column * 5, (row + column) * 3], -1).astype(np.uint8)
    frames = [picture_file(np.roll(rgb, shift, 0), "JPEG", quality=95, subsampling=0) for shift in (0, 9)]
    pictures = []
    for groups in ([], [make_group(FrameVOILUTSequence=make_content(WindowCenter="9", WindowWidth="9")), make_group()]):
        dataset = make_dataset(np.stack([rgb, rgb]), Modality="US")
        dataset.PhotometricInterpretation = "YBR_FULL_422"
        if groups:
            dataset.PerFrameFunctionalGroupsSequence = groups
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        buffer = io.BytesIO()
        dataset["PixelData"].VR = "OB"
        dcmwrite(buffer, dataset, enforce_file_format=True)
        read = read_image(buffer.getvalue(), LIMITS)
        pictures.append(picture(read, 0, FILE).values)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] * 255 - rgb).mean() < 4
