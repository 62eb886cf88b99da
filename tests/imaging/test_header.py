"""Header values read without a library are those that pydicom reads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from irmsia.errors import InputError
from irmsia.imaging.formats.elements import IMPLICIT, Encoding
from irmsia.imaging.formats.header import WANTED, DicomHeader, values_of
from irmsia.imaging.formats.part10 import unpack
from irmsia.imaging.formats.plain_value import read_plain_value
from irmsia.imaging.formats.source import Draft
from tests.imaging.samples import LIMITS

EXPLICIT = Encoding(implicit=False, little=True)
ROWS, PATIENT_ID, SLOPE, FRAMES = 0x00280010, 0x00100020, 0x00281053, 0x00280008


def _plain(tag: int, vr: bytes, raw: bytes, encoding: Encoding = EXPLICIT, *, is_ascii: bool = True) -> Any:
    return read_plain_value((tag, vr, b"12345678" + raw, 8), encoding, is_ascii=is_ascii)


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "value"),
    [
        (ROWS, b"US", b"\x00\x02", 512),
        (ROWS, b"US", b"\x00\x02\x01\x00", [512, 1]),
        (ROWS, b"US", b"", ""),
        (ROWS, b"US", b"\x01", None),
        (PATIENT_ID, b"LO", b"A1 \0", "A1"),
        (PATIENT_ID, b"LO", b"A1\\B2", ["A1", "B2"]),
        (PATIENT_ID, b"LO", "Grüße".encode("latin-1"), None),
        (PATIENT_ID, b"LO", b"\x1b$B", None),
        (SLOPE, b"DS", b" -1.5e1 ", -15.0),
        (SLOPE, b"DS", b"1\\.5", [1.0, 0.5]),
        (SLOPE, b"DS", b"1,5", None),
        (SLOPE, b"DS", b"nan", None),
        (SLOPE, b"DS", b"", ""),
        (FRAMES, b"IS", b"12", 12),
        (FRAMES, b"IS", b"1A", None),
        (FRAMES, b"IS", b"12.0", None),
        (0x00081140, b"SQ", b"", None),
    ],
)
def test_only_plain_values_are_read_here(tag: int, vr: bytes, raw: bytes, value: Any) -> None:
    """Clean text and numbers; whatever is odd is left to pydicom (None)."""
    assert _plain(tag, vr, raw) == value


def test_text_of_other_characters_is_left_to_pydicom() -> None:
    """Under JIS X 0201 the backslash is a yen sign; code strings are ASCII whatever the character set."""
    assert _plain(PATIENT_ID, b"LO", b"A1", is_ascii=False) is None
    assert _plain(0x00080060, b"CS", b"CT", is_ascii=False) == "CT"


def test_implicit_vr_takes_the_dictionarys() -> None:
    """Without a written VR the dictionary's counts, unless it depends on other elements."""
    assert _plain(ROWS, b"", b"\x02\x00", IMPLICIT) == 2
    assert _plain(0x00280120, b"", b"\x02\x00", IMPLICIT) is None
    assert _plain(ROWS, b"", b"\x02\x00") is None


def _same(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    if any(isinstance(value, Dataset) for value in theirs):
        return len(ours) == len(theirs)
    return [str(value).strip() for value in ours] == [str(value).strip() for value in theirs] or list(ours) == list(
        theirs
    )


@pytest.mark.data
def test_every_header_value_is_pydicoms(data_dir: Path) -> None:
    """All wanted elements of all DICOM files of the folder: the same values, whoever reads them."""
    keywords = [word for tag in WANTED if (word := pydicom.datadict.keyword_for_tag(tag))]
    different, compared = [], 0
    folders = ("misc_pydicom", "misc_fodicom", "more_highdicom", "more_dicomparser", "wg04_compression")
    for path in (path for folder in folders for path in sorted((data_dir / "dicom" / folder).iterdir())):
        draft = Draft()
        try:
            layout = unpack(memoryview(path.read_bytes()), LIMITS, WANTED, draft=draft).layout
        except InputError:
            continue
        header = DicomHeader(layout, draft)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword in keywords:
                ours, theirs = values_of(header, keyword), values_of(header._dataset, keyword)
                compared += bool(theirs)
                if not _same(ours, theirs):
                    different.append((path.name, keyword))
    assert different == []
    assert compared > 4000
