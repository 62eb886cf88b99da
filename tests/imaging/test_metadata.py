"""What a header tells of the study: values, sources, ages, pseudonyms; and nothing of the patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from irmsia.imaging.metadata import info_to_json, region_of
from irmsia.imaging.read import inspect, read_image
from irmsia.imaging.types import ImageInfo, Window
from tests.imaging.samples import LIMITS, make_dataset, write

CANARY = "CANARY"
_EMPTY = np.zeros((1, 4, 5, 1), np.int16)


def _info(key: bytes | None = None, **elements: Any) -> ImageInfo:
    return inspect(write(make_dataset(_EMPTY, **elements)), LIMITS, pseudonym_key=key)


@pytest.mark.parametrize(
    ("body_part", "region"),
    [
        ("CHEST", "chest"), ("Thorax", "chest"), ("LUNG", "chest"), ("BRAIN", "brain"), ("HEAD ", "brain"),
        ("SKULL", "brain"), ("BREAST", "breast"), ("KNEE", "knee"), ("", None), ("  ", None), (None, None),
    ],
)  # fmt: skip
def test_region_table(body_part: str | None, region: str | None) -> None:
    """Known names map, other names stay as they are in lower case, none is none."""
    assert region_of(body_part) == region


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "034Y"}, 34.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "000Y"}, None),
        ({"PatientAge": "000Y", "PatientBirthDate": "20010101", "StudyDate": "20030101"}, 2.0),
        ({"PatientBirthDate": "19500101", "StudyDate": "20200101"}, 70.0),
        ({"PatientBirthDate": "1950.01.01", "StudyDate": "20200101"}, 70.0),
        ({"PatientBirthDate": "20200101", "StudyDate": "19500101"}, None),
        ({"PatientBirthDate": "19501345", "StudyDate": "20200101"}, None),
        ({"PatientAge": "abc"}, None),
        ({"PatientAge": "999Y"}, None),
        ({}, None),
    ],
)
def test_age(elements: dict[str, str], years: float | None) -> None:
    """PatientAge, else birth and study date; an age of 0 years without a birth date is unknown."""
    age = _info(**elements).age_years
    assert age == (None if years is None else pytest.approx(years, abs=0.01))


def test_impossible_dates_are_warned_of_by_name_only() -> None:
    """BAD_DATE names the attribute, never the value."""
    info = _info(PatientBirthDate="19501345", StudyDate="20200231")
    assert [notice.code for notice in info.warnings] == ["BAD_DATE", "BAD_DATE"]
    assert not any(digits in repr(info.warnings) for digits in ("1950", "2020"))


def test_patient_data_never_leave_the_header() -> None:
    """Name, id, dates, addresses and free texts of the patient are nowhere in what is known."""
    info = _info(
        b"key",
        PatientName=f"{CANARY}^One", PatientID=f"{CANARY}-2", PatientBirthDate="19510623", OtherPatientIDs=f"{CANARY}3",
        PatientAddress=f"{CANARY}4", ReferringPhysicianName=f"{CANARY}5", AccessionNumber=f"{CANARY}6",
        StudyDescription=f"{CANARY}7", InstitutionName=f"{CANARY}8", PatientComments=f"{CANARY}9",
    )  # fmt: skip
    assert CANARY not in repr(info)
    assert "1951" not in repr(info)


def test_pseudonyms_are_keyed() -> None:
    """The same patient has one pseudonym under one key, another under another; without a key there is none."""
    one, again, other = (_info(key, PatientID="7").identity for key in (b"a" * 32, b"a" * 32, b"b" * 32))
    assert one == again
    assert one.patient_pseudonym
    assert one.study_pseudonym
    assert one.patient_pseudonym != other.patient_pseudonym
    assert one.patient_pseudonym != one.study_pseudonym
    assert _info(PatientID="7").identity.patient_pseudonym is None
    assert one.sop_instance_uid == "2.25.1"


def test_acquisition() -> None:
    """Numbers as numbers, broken ones left out."""
    data = write(make_dataset(_EMPTY, EchoTime="12.75"))
    broken = inspect(data.replace(b"12.75 ", b"twelve"), LIMITS)
    assert (broken.error, broken.acquisition.te) == (None, None)
    info = _info(KVP="120", RepetitionTime="500.5", MagneticFieldStrength="3", ViewPosition="PA")
    assert (info.acquisition.kvp, info.acquisition.tr, info.acquisition.te) == (120.0, 500.5, None)
    assert (info.acquisition.magnetic_field_t, info.acquisition.view_position) == (3.0, "PA")


def test_phantom_version_needs_the_private_creator() -> None:
    """QualityControlSubject alone is no phantom; the version counts under the creator IRMSIA only."""
    dataset = make_dataset(_EMPTY, QualityControlSubject="YES")
    info = inspect(write(dataset), LIMITS)
    assert (info.qc_subject, info.phantom_version) == (True, None)
    dataset.private_block(0x0019, "SOMEONE", create=True).add_new(0x01, "LO", "9")
    assert inspect(write(dataset), LIMITS).phantom_version is None
    dataset.private_block(0x0019, "IRMSIA", create=True).add_new(0x01, "LO", "1")
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        assert inspect(write(dataset, syntax), LIMITS).phantom_version == "1"


def test_interpretation() -> None:
    """Rescale, windows, padding and inversion as the header has them."""
    image = read_image(
        write(
            make_dataset(
                _EMPTY, RescaleSlope="2", RescaleIntercept="-1024", RescaleType="HU", WindowCenter=["40", "300"],
                WindowWidth=["400", "0.5"], VOILUTFunction="LINEAR", PhotometricInterpretation="MONOCHROME1",
            )
        ),
        LIMITS,
    )  # fmt: skip
    look = image.interpretation
    assert (look.slope, look.intercept, look.units, look.inverted, look.signed) == (2.0, -1024.0, "HU", True, True)
    assert look.windows == (Window(40.0, 400.0, "LINEAR"),)


@pytest.mark.parametrize(
    ("elements", "units"),
    [
        ({}, "HU"),
        ({"RescaleType": "HU"}, "HU"),
        ({"RescaleType": "US"}, "US"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, None),
        ({"Modality": "MR", "RescaleType": "HU"}, None),
        ({"Modality": "MR"}, None),
        ({"RescaleIntercept": None}, None),
    ],
)
def test_hounsfield_units(elements: dict[str, Any], units: str | None) -> None:
    """Rescaled CT whose RescaleType is HU or absent, localizers excepted, and nothing else."""
    dataset = make_dataset(_EMPTY, **{"RescaleIntercept": "-1024", **elements})
    assert read_image(write(dataset), LIMITS).interpretation.units == units


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_out_of_all_range(keyword: str) -> None:
    """A factor that would overflow into values that are no numbers is a broken header, not a picture."""
    failure = inspect(write(make_dataset(_EMPTY, **{keyword: "-1e308"})), LIMITS).error
    assert failure is not None
    assert failure.code == "INCONSISTENT_HEADER"


def test_padding_written_as_the_wrong_sign() -> None:
    """PixelPaddingValue of signed pixels written as US 63536 is -2000."""
    dataset = make_dataset(_EMPTY)
    dataset.add_new(0x00280120, "US", 63536)
    dataset.add_new(0x00280121, "US", 63530)
    assert read_image(write(dataset), LIMITS).interpretation.padding == (-2006.0, -2000.0)


def test_lookup_tables() -> None:
    """VOI and modality LUTs with their first value, their entries and their depth."""
    item = Dataset()
    item.add_new(0x00283002, "SS", [4, -2, 12])
    item.add_new(0x00283006, "OW", np.array([0, 10, 200, 4095], "<u2").tobytes())
    dataset = make_dataset(_EMPTY, VOILUTSequence=Sequence([item]), ModalityLUTSequence=Sequence([item]))
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        look = read_image(write(dataset, syntax), LIMITS).interpretation
        for lut in (look.voi_luts[0], look.modality_lut):
            assert lut is not None
            assert (lut.first, lut.bits, lut.values.tolist()) == (-2, 12, [0, 10, 200, 4095])


@pytest.mark.parametrize(("intercept", "first"), [("-1024", -2), ("0", 65534)])
def test_a_voi_lut_begins_below_zero_where_the_rescale_does(intercept: str, first: int) -> None:
    """Unsigned pixels of CT: implicit VR cannot tell -2 from 65534, the range of the modality values can."""
    item = Dataset()
    item.add_new(0x00283002, "US", [4, 65534, 12])
    item.add_new(0x00283006, "OW", np.array([0, 10, 200, 4095], "<u2").tobytes())
    dataset = make_dataset(_EMPTY.astype(np.uint16), VOILUTSequence=Sequence([item]), RescaleIntercept=intercept)
    assert read_image(write(dataset, "1.2.840.10008.1.2"), LIMITS).interpretation.voi_luts[0].first == first


def test_segmented_palette() -> None:
    """Discrete runs, linear ramps and repetitions of a segmented palette (PS3.3 C.7.9.2)."""
    dataset = make_dataset(np.zeros((1, 2, 2, 1), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    segments = np.array([0, 2, 0, 1000, 1, 4, 5000, 2, 1, 0, 0], "<u2").tobytes()
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [8, 0, 16])
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", segments)
    palette = read_image(write(dataset), LIMITS).interpretation.palette
    assert palette is not None
    assert (palette[:, 0] * 257).round().tolist() == [0, 1000, 2000, 3000, 4000, 5000, 0, 1000]


def test_windows_of_each_frame() -> None:
    """Functional groups of the frame come before those of the file."""
    frames = np.zeros((2, 4, 5, 1), np.int16)
    groups = []
    for center in (10, 20):
        voi, group = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 5
        group.FrameVOILUTSequence = Sequence([voi])
        groups.append(group)
    dataset = make_dataset(frames, WindowCenter=1, WindowWidth=2, PerFrameFunctionalGroupsSequence=Sequence(groups))
    image = read_image(write(dataset), LIMITS)
    assert [image.interpretation_of(index).windows[0].center for index in (0, 1)] == [10.0, 20.0]
    assert image.interpretation.windows[0].center == 1.0


def test_json_line_has_every_key() -> None:
    """All keys of contract section 1, serialisable, for a good file, a broken one and no image at all."""
    keys = """path format modality region shape dtype spacing_mm spacing_source transfer_syntax lossless frame_sha256
        warnings error""".split()  # noqa: SIM905
    good = write(make_dataset(_EMPTY, BodyPartExamined="HEAD", PixelSpacing=["0.5", "0.25"]))
    for data in (good, good[:-4], b"no image"):
        line = json.loads(json.dumps(info_to_json("name", inspect(data, LIMITS))))
        assert list(line) == keys
        assert (line["error"] is None) == (data is good)
    line = info_to_json("name", inspect(good, LIMITS))
    assert (line["format"], line["region"], line["dtype"]) == ("DICOM", "brain", "int16")
    assert (line["spacing_mm"], line["spacing_source"]) == ([None, 0.5, 0.25], "PIXEL")


@pytest.mark.data
def test_lossless_is_false_after_any_lossy_step(data_dir: Path) -> None:
    """An uncompressed file that was once lossy says so by LossyImageCompression."""
    info = inspect((data_dir / "dicom" / "misc_pydicom" / "693_UNCI.dcm").read_bytes(), LIMITS)
    assert (info.lossless, [notice.code for notice in info.warnings]) == (False, ["LOSSY"])
