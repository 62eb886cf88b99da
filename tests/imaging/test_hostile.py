"""Bytes that mean harm: refused by arithmetic, quickly, with a code of the tree, never with pixels."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.errors import (
    InconsistentHeaderError,
    InputError,
    LimitExceededError,
    NoPixelDataError,
    NotAnImageError,
    TruncatedError,
    UnsupportedError,
)
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import inspect, read_image
from tests.imaging.samples import LIMITS, element, gradient, make_dataset, part10, picture, pixel_elements, write

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
CT = element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")
REPORT = element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.88.11\0")
NESTING_S = 5.0  # ten times the pass line of safety I3


def _native(rows: int, columns: int, value: bytes, **module: Any) -> bytes:
    return part10(CT + pixel_elements(rows, columns, **module) + element(0x7FE00010, b"OB", value))


def test_the_smallest_file_reads() -> None:
    """The hand-made file of these tests is good: what follows is refused for its fault alone."""
    assert read_image(_native(2, 2, b"\1\2\3\4"), LIMITS).pixels.ravel().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (_native(2, 3, b"\0" * 4), InconsistentHeaderError),
        (_native(60_000, 60_000, b"\0" * 4), InconsistentHeaderError),
        (_native(2, 2, b"\0" * 4, frames=2**31 - 1), InconsistentHeaderError),
        (_native(2, 2, b"\0" * 4, allocated=8, stored=9), InconsistentHeaderError),
        (_native(2, 2, b"\0" * 8, allocated=12), UnsupportedError),
        (_native(2, 2, b"\0" * 32, allocated=64), UnsupportedError),
        (_native(2, 2, b"\0" * 4, frames=-1), InconsistentHeaderError),
        (_native(0, 2, b""), InconsistentHeaderError),
        (part10(CT + pixel_elements(2, 2) + element(0x7FE00010, b"OB", b"\0" * 4, length=8)), TruncatedError),
        (part10(CT + element(0x00081080, b"UN", b"", length=0xFFFFFFF0)), TruncatedError),
        (part10(CT + pixel_elements(2, 2)), TruncatedError),
        (part10(REPORT + element(0x0040A040, b"CS", b"TEXT")), NoPixelDataError),
        (part10(b""), TruncatedError),
        (part10(CT + pixel_elements(2, 2) + element(0x7FE00010, b"OB", b"\0" * 4), "9" * 60_000), UnsupportedError),
        (part10(CT)[:140], TruncatedError),
        (b"", NotAnImageError),
    ],
)  # fmt: skip
def test_headers_that_lie(data: bytes, error: type[InputError]) -> None:
    """Each contradiction has its code, and `inspect` tells the same."""
    with pytest.raises(error):
        read_image(data, LIMITS)
    failure = inspect(data, LIMITS).error
    assert failure is not None
    assert failure.code == error.code


@pytest.mark.parametrize("depth", [900, 50_000])
@pytest.mark.parametrize("length", ["defined", "undefined"])
@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
def test_nested_sequences(depth: int, length: str, vr: bytes) -> None:
    """Sequences nested 900 or 50,000 deep are LIMIT_EXCEEDED at once, never a RecursionError."""
    body = _nest(depth, vr) if length == "undefined" else _nest_defined(min(depth, 4000), vr)
    started = time.perf_counter()
    with pytest.raises(LimitExceededError):
        read_image(part10(CT + body), LIMITS)
    assert time.perf_counter() - started < NESTING_S
    info = inspect(part10(CT + element(0x00080060, b"CS", b"CT") + body), LIMITS)
    assert (info.modality, info.transfer_syntax) == ("CT", "1.2.840.10008.1.2.1")  # what came before is known


def _nest(depth: int, vr: bytes) -> bytes:
    level = element(0x0040A730, vr, b"", length=0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    inner = struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return level * depth if vr == b"SQ" else level + inner * (depth - 1)  # within UN all is implicit VR


def _nest_defined(depth: int, vr: bytes) -> bytes:
    body = b""
    for level in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        outermost = level == depth - 1
        implicit = struct.pack("<HHI", 0x0040, 0xA730, len(item)) + item
        body = element(0x0040A730, vr, item) if outermost or vr == b"SQ" else implicit
    return body


def test_deflated_data_beyond_the_limit() -> None:
    """A data set that inflates past the limit is refused before it is held: the parent peaks below 8 MiB."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    bomb = part10(b"".join(packed.compress(zeros) for _ in range(64)) + packed.flush(), DEFLATED)
    limits = ReadLimits(inflated_bytes=32 << 20)
    tracemalloc.start()
    try:
        info = inspect(bomb, limits)
        assert info.error is not None
        assert (info.error.code, info.transfer_syntax) == ("LIMIT_EXCEEDED", DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_deflated_data_that_end_early() -> None:
    """A deflate stream without its end is TRUNCATED."""
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    whole = write(make_dataset(pixels), DEFLATED, frames=pixels)
    with pytest.raises(TruncatedError):
        read_image(whole[:-20], LIMITS)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ReadLimits(file_bytes=100), "LIMIT_EXCEEDED"),
        (ReadLimits(frame_pixels=63), "LIMIT_EXCEEDED"),
        (ReadLimits(frames=1), "LIMIT_EXCEEDED"),
        (ReadLimits(child_bytes=100), "LIMIT_EXCEEDED"),
        (ReadLimits(frame_pixels=64, frames=2), None),
    ],
)
def test_each_limit_holds(limits: ReadLimits, code: str | None) -> None:
    """Every setting of the limits is kept, to the pixel."""
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    data = write(make_dataset(pixels), frames=pixels)
    try:
        read_image(data, limits)
        found = None
    except InputError as error:
        found = error.code
    assert found == code


def test_palette_index_outside() -> None:
    """An index that the palette does not hold is refused in DICOM and in PNG, never shown as some colour."""
    indices = np.array([[[[0], [1], [3], [9]]]], dtype=np.uint8)
    dataset = make_dataset(indices, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", bytes(8))
    with pytest.raises(InconsistentHeaderError):
        read_image(write(dataset), LIMITS)
    dataset.PixelData = bytes([0, 1, 3, 2])
    assert read_image(write(dataset), LIMITS).interpretation.palette is not None
    data = bytearray(picture(gradient(4, 4), "PNG"))
    data[25] = 3  # colour type: palette
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    palette = b"PLTE" + bytes(6)
    data[33:33] = struct.pack(">I", 6) + palette + struct.pack(">I", zlib.crc32(palette))
    with pytest.raises(InconsistentHeaderError):
        read_image(bytes(data), LIMITS)


def test_a_palette_longer_than_its_data() -> None:
    """A palette whose data are shorter than its descriptor says is refused."""
    dataset = make_dataset(np.zeros((1, 2, 2, 1), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [0, 0, 16])  # 0 means 65536
        setattr(dataset, f"{name}PaletteColorLookupTableData", bytes(8))
    with pytest.raises(InconsistentHeaderError):
        read_image(write(dataset), LIMITS)


def test_claims_of_huge_frames_cost_nothing() -> None:
    """Headers of 100-megapixel frames over a few bytes are refused without an allocation of that size."""
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, 80) + bytes(80)
    stream = element(0x7FE00010, b"OB", b"", length=0xFFFFFFFF) + fragment + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = part10(CT + pixel_elements(10_000, 10_000) + stream, RLE)
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            read_image(data, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@given(data=st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_image_or_a_leaf(data: bytes) -> None:
    """Random bytes behind every magic are read or refused on purpose."""
    for magic in (b"", b"\0" * 128 + b"DICM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        info = inspect(magic + data, LIMITS)
        assert info.error is None or info.error.code


@pytest.mark.data
def test_500_mutants_of_real_files(data_dir: Path) -> None:
    """Bytes flipped, cut, doubled and zeroed in real files: 0 untyped errors (at most 3/500 by the 95 % bound)."""
    codes: dict[str, int] = {}
    for mutant in _mutants(data_dir, 500):
        error = inspect(mutant, LIMITS).error
        code = error.code if error else "OK"
        codes[code] = codes.get(code, 0) + 1
    print("\nmutants by code:", dict(sorted(codes.items())))
    assert sum(codes.values()) == 500
    assert "" not in codes
    assert "INTERNAL" not in codes


def _mutants(data_dir: Path, count: int) -> list[bytes]:
    choice = random.Random(20261)
    names = [
        *("dicom/misc_pydicom/" + name for name in (
            "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm",
            "MR_small_expb.dcm", "image_dfl.dcm", "SC_rgb_jpeg_dcmtk.dcm", "emri_small_RLE.dcm", "liver_j2k.dcm",
        )),
        *("odd_images/" + name for name in ("palette.png", "grey16.png", "cmyk.jpg", "progressive.jpg")),
    ]  # fmt: skip
    seeds = [(data_dir / name).read_bytes() for name in names]
    return [_mutate(bytearray(choice.choice(seeds)), choice) for _ in range(count)]


def _mutate(data: bytearray, choice: random.Random) -> bytes:
    for _ in range(choice.randint(1, 6)):
        at = choice.randrange(min(len(data), 2000) if choice.random() < 0.6 else len(data))
        kind = choice.randrange(5)
        if kind == 0:
            data[at] ^= 1 << choice.randrange(8)
        elif kind == 1:
            data[at : at + 4] = choice.randbytes(4)
        elif kind == 2:
            data[at : at + 4] = choice.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
        elif kind == 3 and len(data) > 300:
            del data[at : at + choice.randrange(1, 64)]
        else:
            data[at:at] = data[at : at + choice.randrange(1, 64)]
    return bytes(data)


@pytest.mark.parametrize("broken", [b"ISO\0IR 100", b"nonsense!!", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6"])
def test_a_broken_character_set_costs_no_image(broken: bytes) -> None:
    """An element pydicom cannot take is left out with a warning at most; the picture is read."""
    body = element(0x00080005, b"CS", broken) + CT + pixel_elements(2, 2) + element(0x7FE00010, b"OB", b"\1\2\3\4")
    image = read_image(part10(body), LIMITS)
    assert image.pixels.ravel().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_png_whose_stream_cannot_hold_its_pixels(interlace: int) -> None:
    """100 megapixels of 16-bit RGBA from 1 KB: no deflate stream grows that much, so nothing is allocated for it."""
    head = struct.pack(">IIBBBBB", 10_000, 10_000, 16, 6, 0, 0, interlace)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    tracemalloc.start()
    failure = inspect(data, LIMITS).error
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert failure is not None
    assert failure.code == "TRUNCATED"
    assert peak < 1_000_000
