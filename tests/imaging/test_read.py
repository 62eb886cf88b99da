"""Reading the real files: values, digests and codes that the data folder's lists hold."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from irmsia.errors import InputError
from irmsia.imaging.read import inspect, read_image
from irmsia.imaging.types import ImageInfo
from tests.imaging.samples import LIMITS

pytestmark = pytest.mark.data
_ODD = {
    "bilevel.tif": ("TIFF", (1, 220, 280, 1), "uint8"),
    "deflate_tiled.tif": ("TIFF", (1, 220, 280, 1), "uint8"),
    "float32.tif": ("TIFF", (1, 220, 280, 1), "float32"),
    "grey12in16.tif": ("TIFF", (1, 220, 280, 1), "uint16"),
    "multipage.tif": ("TIFF", (2, 220, 280, 1), "uint8"),
    "grey16.png": ("PNG", (1, 220, 280, 1), "uint16"),
    "rgba.png": ("PNG", (1, 220, 280, 4), "uint8"),
    "palette.png": ("PNG", (1, 220, 280, 3), "uint8"),
    "grey_alpha.png": ("PNG", (1, 220, 280, 2), "uint8"),
    "cmyk.jpg": ("JPEG", (1, 220, 280, 4), "uint8"),
    "png_named.dcm": ("PNG", (1, 220, 280, 1), "uint8"),
    "jpeg_named.png": ("JPEG", (1, 220, 280, 1), "uint8"),
}


@cache
def _inspect(path: Path) -> ImageInfo:
    return inspect(path.read_bytes(), LIMITS)


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _values(path: Path) -> NDArray[Any]:
    return read_image(path.read_bytes(), LIMITS).pixels.astype(np.int64)


def test_every_lossless_wg04_frame_is_exact(data_dir: Path) -> None:
    """All 28 lossless encodings decode to the very pixels of EXPECTED.csv."""
    folder = data_dir / "dicom" / "wg04_compression"
    rows = [row for row in _rows(folder / "EXPECTED.csv") if row["lossless"] == "yes"]
    assert len(rows) == 28
    for row in rows:
        info = _inspect(folder / row["file"])
        assert (row["file"], info.frame_sha256, info.lossless) == (row["file"], (row["frame_sha256_stored"],), True)


def test_every_lossy_wg04_frame_is_as_far_away_as_stated(data_dir: Path) -> None:
    """Mean and largest distance to the reference are those of EXPECTED.csv, so no decoder is off."""
    folder = data_dir / "dicom" / "wg04_compression"
    stated = re.compile(r"against (\w+).*: mean absolute difference ([\d.]+), max (\d+)")
    checked = 0
    for row in _rows(folder / "EXPECTED.csv"):
        found = stated.search(row["note"])
        if not found:
            continue
        reference = f"{row['subject']}_REF.dcm" if found[1] == "REF" else f"{found[1]}.dcm"
        distance = np.abs(_values(folder / row["file"]) - _values(folder / reference))
        assert distance.mean() == pytest.approx(float(found[2]), abs=6e-4), row["file"]
        assert distance.max() == int(found[3]), row["file"]
        assert _inspect(folder / row["file"]).lossless is False
        checked += 1
    assert checked == 16


def test_all_families_are_equal(data_dir: Path) -> None:
    """The files of each of the 19 families hold the same frames, whatever their encoding."""
    families: dict[str, set[tuple[str, ...]]] = {}
    for row in _rows(data_dir / "dicom" / "EQUAL.csv"):
        families.setdefault(row["family"], set()).add(_inspect(data_dir / "dicom" / row["file"]).frame_sha256)
    assert len(families) == 19
    assert {name: len(digests) for name, digests in families.items() if len(digests) != 1 or () in digests} == {}


@pytest.mark.parametrize(("folder", "count"), [("hostile", 5), ("dicom/made_corrupt", 11), ("odd_images", 24)])
def test_each_listed_file_has_its_code(data_dir: Path, folder: str, count: int) -> None:
    """Every row of the index gives the code it names, and every file of the folder has its row."""
    wrong = {}
    rows = _rows(data_dir / folder / "index.csv")
    assert len(rows) == count
    files = {path.name for path in (data_dir / folder).iterdir()} - {"index.csv"}
    assert files == {row["file"] for row in rows}
    for row in rows:
        error = _inspect(data_dir / folder / row["file"]).error
        code = error.code if error else "OK"
        if code not in row["expected_code"].split("|"):
            wrong[row["file"]] = (code, row["expected_code"])
    assert wrong == {}


def test_odd_images_are_what_their_notes_say(data_dir: Path) -> None:
    """Range, type, pages and warnings of the odd files: no saturation, no rotation in the digest, no lost page."""
    folder = data_dir / "odd_images"
    kinds = {name: _inspect(folder / name) for name in sorted(row["file"] for row in _rows(folder / "index.csv"))}
    shapes = {name: (kinds[name].format, kinds[name].shape, kinds[name].dtype) for name in _ODD}
    assert shapes == _ODD
    assert int(_values(folder / "grey12in16.tif").max()) > 255
    floats = read_image((folder / "float32.tif").read_bytes(), LIMITS).pixels
    assert 0 < float(floats.max()) <= 1
    assert set(np.unique(_values(folder / "bilevel.tif"))) == {0, 1}
    assert "EXIF_ORIENTATION" in {notice.code for notice in kinds["exif_rotated.jpg"].warnings}


def test_every_file_of_the_folder_is_read_or_refused_on_purpose(data_dir: Path) -> None:
    """No DICOM or odd file raises anything but a leaf of the tree, and what reads has a digest a frame."""
    files = [path for root in ("dicom", "odd_images", "hostile") for path in sorted((data_dir / root).rglob("*"))]
    read = 0
    for path in files:
        if not path.is_file() or path.suffix in {".csv", ".json", ".nii"} or "dcm_qa_nih" in str(path):
            continue
        info = _inspect(path)
        if info.error is None:
            assert info.shape is not None
            assert len(info.frame_sha256) == info.shape[0]
            assert info.decoder
            read += 1
        else:
            assert info.error.code not in {"", "INTERNAL"}, path.name
    assert read > 150


def test_real_photographs_and_radiographs_read(data_dir: Path) -> None:
    """PNG and JPEG of the training folders read as Pillow reads them."""
    from PIL import Image as PillowImage

    folders = ["breast_ultrasound_busi/benign", "chest_xray_pneumonia/NORMAL", "brain_mri_tumor/glioma"]
    for folder in folders:
        for path in sorted((data_dir / folder).iterdir())[:5]:
            with PillowImage.open(path) as reference:
                expected = np.asarray(reference)
            pixels = read_image(path.read_bytes(), LIMITS).pixels[0]
            np.testing.assert_array_equal(pixels.reshape(expected.shape), expected)


def test_messages_hold_no_patient_data(data_dir: Path) -> None:
    """A file with impossible dates warns by attribute name; name, id and date are nowhere in what is known."""
    info = _inspect(data_dir / "dicom" / "made_corrupt" / "bad_dates.dcm")
    assert {notice.code for notice in info.warnings} == {"BAD_DATE"}
    import pydicom

    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(data_dir / "dicom" / "made_corrupt" / "bad_dates.dcm")
    canaries = [str(dataset[tag].value) for tag in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate")]
    shown = repr(info)
    assert not [canary for canary in canaries if canary and canary in shown]


def test_what_is_known_before_an_error_is_kept(data_dir: Path) -> None:
    """A file cut inside its pixels still tells its modality and transfer syntax."""
    info = _inspect(data_dir / "dicom" / "made_corrupt" / "cut_in_pixels.dcm")
    assert info.error is not None
    assert (info.error.code, info.modality, info.transfer_syntax) == ("TRUNCATED", "CT", "1.2.840.10008.1.2.1")


def test_read_image_raises_what_inspect_reports(data_dir: Path) -> None:
    """One fault, one code, whichever function meets it."""
    for name in ("huge_len.dcm", "native_short.dcm", "nest_900.dcm", "rle_65535.dcm"):
        data = (data_dir / "hostile" / name).read_bytes()
        with pytest.raises(InputError) as caught:
            read_image(data, LIMITS)
        failure = inspect(data, LIMITS).error
        assert failure is not None
        assert failure.code == caught.value.code
