"""`read_header`: what a catalogue takes of a header, the same as a whole reading says, without looking at pixels."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.read import inspect, read_header
from irmsia.imaging.types import Acquisition, ImageInfo
from tests.imaging.samples import (
    LIMITS,
    NATIVE,
    element,
    gradient,
    make_dataset,
    part10,
    picture,
    pixel_elements,
    write,
)

KEY = b"k" * 32
FRAMES = np.arange(2 * 20 * 24, dtype=np.int16).reshape(2, 20, 24, 1)


def _catalogued(info: ImageInfo) -> ImageInfo:
    """What `read_header` promises of an `ImageInfo`."""
    return ImageInfo(
        format=info.format, modality=info.modality, body_part=info.body_part, region=info.region, shape=info.shape,
        dtype=info.dtype, spacing=info.spacing, transfer_syntax=info.transfer_syntax, identity=info.identity,
        acquisition=Acquisition(sequence_guess=info.acquisition.sequence_guess), error=info.error,
    )  # fmt: skip


def _agree(data: bytes) -> ImageInfo:
    header, whole = (read(data, LIMITS, pseudonym_key=KEY) for read in (read_header, inspect))
    assert _catalogued(header) == _catalogued(whole)
    return header


def _mr(**more: object) -> Dataset:
    return make_dataset(
        FRAMES, Modality="MR", PatientID="1", IssuerOfPatientID="here", BodyPartExamined="HEAD",
        PixelSpacing=[0.5, 0.25], SpacingBetweenSlices=2.0, SeriesDescription="AX T2 FLAIR", EchoTime=90.0,
        RepetitionTime=9000.0, **more,
    )  # fmt: skip


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless])
def test_every_encoding_says_the_same(syntax: str) -> None:
    """Explicit and implicit, little and big endian, deflated, encapsulated."""
    found = _agree(write(_mr(), syntax, frames=FRAMES))
    assert (found.shape, found.dtype, found.region) == ((2, 20, 24, 1), "int16", "brain")
    assert found.acquisition.sequence_guess is not None
    assert found.acquisition.sequence_guess.label == "FLAIR"
    assert found.frame_sha256 == ()


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", NATIVE)
def test_sequences_are_passed_over_or_read(syntax: str, undefined: bool) -> None:
    """Of known and of unknown length; those that are wanted say what they say."""
    inner, measures, region = Dataset(), Dataset(), Dataset()
    inner.PatientID = "not this one"
    measures.PixelMeasuresSequence = Sequence([Dataset()])
    measures.PixelMeasuresSequence[0].PixelSpacing = [0.75, 0.5]
    region.PhysicalUnitsXDirection = 3
    dataset = make_dataset(
        FRAMES, Modality="MR", PatientID="1", ReferencedStudySequence=Sequence([inner, inner]),
        SharedFunctionalGroupsSequence=Sequence([measures]), SequenceOfUltrasoundRegions=Sequence([region]),
    )  # fmt: skip
    for keyword in ("ReferencedStudySequence", "SharedFunctionalGroupsSequence"):
        dataset[keyword].is_undefined_length = undefined
    found = _agree(write(dataset, syntax, frames=FRAMES))
    assert (found.spacing.row_mm, found.spacing.column_mm) == (0.75, 0.5)


def test_nothing_behind_the_pixels_head_is_looked_at() -> None:
    """Fragments that are cut or make no sense are a whole reading's to find; a header has what it says."""
    whole = write(_mr(), RLELossless, frames=FRAMES)
    at = whole.index(b"\xe0\x7f\x10\x00OB") + 12
    for data in (whole[:at], whole[: at + 20], whole[:at] + b"\xff" * 100):
        found = read_header(data, LIMITS)
        assert (found.error, found.shape) == (None, (2, 20, 24, 1))
        assert inspect(data, LIMITS).error is not None


def test_what_the_header_alone_shows_to_be_wrong_is_told() -> None:
    """Native pixels that are cut, lengths that cannot be, nested sequences that are wanted, no pixels at all."""
    whole = write(_mr())
    codes = {
        "cut": (whole[:-10], "TRUNCATED"),
        "short": (part10(pixel_elements(999, 999) + element(0x7FE00010, b"OW", bytes(10))), "INCONSISTENT_HEADER"),
        "none": (part10(element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.88.11\0")), "NO_PIXEL_DATA"),
        "long": (part10(element(0x00081030, b"UT", b"", length=0xFFFFFFF0) + pixel_elements(9, 9)), "TRUNCATED"),
        "text": (b"no image", "NOT_AN_IMAGE"),
        "empty": (b"", "NOT_AN_IMAGE"),
    }
    for name, (data, code) in codes.items():
        error = read_header(data, LIMITS).error
        assert error is not None, name
        assert error.code == code, name


def test_wanted_sequences_may_not_nest_for_ever() -> None:
    """pydicom would recurse: the depth is counted first, also where a sequence is written as UN."""
    body = b""
    for _ in range(200):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        body = element(0x52009229, b"SQ", item)
    pixels = element(0x7FE00010, b"OW", bytes(400))
    for vr in (b"SQ", b"UN"):
        data = part10(pixel_elements(20, 20) + element(0x52009229, vr, body[12:]) + pixels)
        found = read_header(data, LIMITS)
        assert found.error is not None
        assert found.error.code == "LIMIT_EXCEEDED"


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_get_an_answer(noise: bytes, dicom: bool) -> None:
    """Law: whatever follows the preamble, the answer is facts and a typed error, and never an exception."""
    found = read_header(part10(noise, ExplicitVRLittleEndian) if dicom else noise, LIMITS)
    assert found.error is None or found.error.code


@given(st.integers(0, 2000), st.integers(0, 255))
def test_one_changed_byte_changes_no_promise(at: int, value: int) -> None:
    """Law: a header with one byte changed reads as a whole reading reads it, unless only its pixels can tell."""
    data = bytearray(write(_mr()))
    at %= len(data) - FRAMES.nbytes
    data[at] = value
    header, whole = read_header(bytes(data), LIMITS), inspect(bytes(data), LIMITS)
    if header.error is None and whole.error is None:
        assert _catalogued(replace(header, dtype=whole.dtype)) == _catalogued(whole)


def test_pictures_have_headers_too() -> None:
    """Shape and type without decoding: a stream that is damaged behind its header is a whole reading's to find."""
    whole = picture(gradient(40, 50), "PNG")
    assert _agree(whole).shape == (1, 40, 50, 1)


def test_children_can_be_started_ahead() -> None:
    """As many as asked for and no more than work at once; a closed pool starts none."""
    with DecoderPool(2, LIMITS) as pool:
        pool.start(1)
        pool.start(1)
        assert len(pool._idle) == 1
        pool.start(9)
        assert len(pool._idle) == 2
        assert pool.inspect(picture(gradient(), "PNG")).error is None
        assert len(pool._idle) == 2
    pool.start(1)
    assert not pool._idle
