"""TIFF by our own walk of the directories, against the values that went in and against tifffile."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from irmsia.errors import (
    DecodeFailedError,
    InconsistentHeaderError,
    InputError,
    LimitExceededError,
    TruncatedError,
    UnsupportedError,
)
from irmsia.imaging.digest import frame_digest
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import inspect, read_image
from irmsia.imaging.render import render_frame
from irmsia.imaging.types import Image
from tests.imaging.samples import LIMITS, gradient, picture

RNG = np.random.default_rng(11)
ROWS, COLUMNS = 37, 53
KINDS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


def values(kind: str, *shape: int) -> NDArray[Any]:
    """Random values over the whole range of ``kind``."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return RNG.normal(scale=1e3, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def tiff(frames: Any, **options: Any) -> bytes:
    """Written by tifffile, every first index of ``frames`` a page."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(
        buffer, byteorder=options.pop("byteorder", "<"), bigtiff=options.pop("bigtiff", False)
    ) as out:
        for frame in frames:
            out.write(frame, metadata=None, **{"photometric": "minisblack", **options})
    return buffer.getvalue()


def by_hand(fields: dict[int, tuple[int, ...]], pixels: bytes, *, order: str = "<") -> bytes:
    """A page whose one strip is ``pixels`` at offset 8; every field of 32 bits."""
    fields = {273: (8,), 279: (len(pixels),), **fields}
    at = 8 + len(pixels)
    entries, tail = b"", b""
    behind = at + 2 + 12 * len(fields) + 4
    for tag, found in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(found)}I", *found)
        inline = packed if len(found) == 1 else struct.pack(order + "I", behind + len(tail))
        tail += packed if len(found) != 1 else b""
        entries += struct.pack(order + "HHI", tag, 4, len(found)) + inline
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + pixels + struct.pack(order + "H", len(fields)) + entries + b"\0\0\0\0" + tail


def page_fields(rows: int, columns: int, bits: int = 8, photometric: int = 1) -> dict[int, tuple[int, ...]]:
    """The fields no page does without."""
    return {256: (columns,), 257: (rows,), 258: (bits,), 262: (photometric,)}


def smooth_colour() -> NDArray[np.uint8]:
    """RGB (64, 96, 3) that JPEG loses little of."""
    row, column = np.mgrid[:64, :96]
    return np.stack([row * 2, column, 255 - row - column], axis=-1).astype(np.uint8)


def read(data: bytes) -> Image:
    """By the reader under test."""
    return read_image(data, LIMITS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 8},
        {"tile": (16, 32)},
        {"compression": "lzw", "rowsperstrip": 5, "predictor": True},
        {"compression": "zlib", "tile": (32, 16), "predictor": True},
        {"compression": "packbits"},
        {"compression": "zstd"},
    ],
    ids=["plain", "strips", "tiles", "lzw", "deflate tiles", "packbits", "zstd"],
)
def test_values_come_back(kind: str, byteorder: str, options: dict[str, Any]) -> None:
    """Every sample type, both byte orders, strips and tiles, predictors: the values that went in and their digest."""
    if "predictor" in options and kind.startswith("float"):
        options = {**options, "predictor": "floatingpoint"}
    frame = values(kind, ROWS, COLUMNS)
    image = read(tiff([frame], byteorder=byteorder, **options))
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    assert image.info.dtype == kind
    assert image.info.frame_sha256 == (frame_digest(frame),)
    assert (image.info.lossless, image.info.warnings) == (True, ())


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 7}, {"tile": (16, 16)}], ids=["strips", "tiles"])
@pytest.mark.parametrize(
    ("photometric", "samples", "extra", "seen"),
    [
        ("minisblack", 2, ["unassalpha"], "GREY_ALPHA"),
        ("rgb", 3, [], "RGB"),
        ("rgb", 4, ["assocalpha"], "RGBA"),
        ("separated", 4, [], "CMYK"),
    ],
)
def test_colours(
    planar: str, layout: dict[str, Any], photometric: str, samples: int, extra: list[str], seen: str
) -> None:
    """Samples interleaved whatever their layout; alpha, RGB and inks named as they are."""
    frame = values("uint16", ROWS, COLUMNS, samples)
    stored = frame if planar == "contig" else np.moveaxis(frame, -1, 0)
    options = {"photometric": photometric, "planarconfig": planar, "compression": "lzw", "predictor": True, **layout}
    image = read(tiff([stored], extrasamples=extra or None, **options))
    np.testing.assert_array_equal(image.pixels[0], frame)
    assert image.interpretation.photometric == seen


def test_pages_are_frames_and_big_tiff_is_read() -> None:
    """Three pages, three digests; a reduced copy is none of them, and that it was left out is said."""
    frames = values("uint16", 3, ROWS, COLUMNS)
    assert read(tiff(frames, bigtiff=True)).info.frame_sha256 == tuple(frame_digest(frame) for frame in frames)
    buffer = io.BytesIO(tiff(frames))
    tifffile.imwrite(buffer, frames[0, ::2, ::2], append=True, subfiletype=1, metadata=None)
    image = read(buffer.getvalue())
    np.testing.assert_array_equal(image.pixels[..., 0], frames)
    assert [notice.code for notice in image.info.warnings] == ["PAGES_LEFT_OUT"]


def test_pages_that_differ_are_refused() -> None:
    """One file has one shape: pages of two sizes are UNSUPPORTED, never cropped."""
    with pytest.raises(UnsupportedError):
        read(tiff([values("uint8", 8, 8), values("uint8", 9, 8)]))


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_packed_bits(bits: int) -> None:
    """Samples of odd widths: a bit is 0 or 1, two and four become bytes as in PNG, more stay as they are."""
    stored = RNG.integers(0, 1 << bits, (ROWS, COLUMNS), dtype=np.uint16)
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in stored]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    packed = bytes(int(row[at : at + 8], 2) for row in rows for at in range(0, len(row), 8))
    for reverse in (False, True):
        table = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256)) if reverse else bytes(range(256))
        fields = {**page_fields(ROWS, COLUMNS, bits), 266: (2 if reverse else 1,)}
        image = read(by_hand(fields, packed.translate(table), order=">"))
        scale = {2: 85, 4: 17}.get(bits, 1)
        np.testing.assert_array_equal(image.pixels[0, :, :, 0], stored * scale)
        assert image.info.dtype == ("uint8" if bits <= 8 else "uint16")
        assert image.interpretation.bits_stored == (8 if scale > 1 else bits)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("scale", [1, 256, 257])
def test_palette_is_expanded(bits: int, scale: int) -> None:
    """Indices become colours of 8 bits, whichever way the writer stored bytes in 16."""
    colours = RNG.integers(0, 256, (1 << bits, 3), dtype=np.uint16)
    colours[0, 0] = 200
    indices = RNG.integers(0, 1 << bits, (ROWS, COLUMNS), dtype=np.uint8)
    per_byte = 8 // bits
    padded = np.pad(indices, ((0, 0), (0, -COLUMNS % per_byte)))
    bits_of = (padded[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(bits_of.reshape(ROWS, -1).astype(np.uint8), axis=1).tobytes()
    table = tuple(int(value) for value in (colours * scale).T.ravel())
    image = read(by_hand({**page_fields(ROWS, COLUMNS, bits, 3), 320: table}, packed))
    np.testing.assert_array_equal(image.pixels[0], colours[indices])
    assert (image.info.dtype, image.interpretation.photometric) == ("uint8", "RGB")


def test_white_is_zero_is_stored_as_it_is_and_seen_inverted() -> None:
    """The digest is of the stored samples; what is looked at is the picture meant."""
    frame = gradient()
    image = read(tiff([frame], photometric="miniswhite"))
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    np.testing.assert_array_equal(render_frame(image, 0), 255 - frame)


@pytest.mark.parametrize("orientation", [1, 6])
def test_orientation_is_told_and_not_applied(orientation: int) -> None:
    """Stored samples, a warning, and an upright picture for the viewer."""
    frame = gradient()
    image = read(tiff([frame], extratags=[(274, 3, 1, orientation, True)]))
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    turned = np.rot90(frame, -1) if orientation == 6 else frame
    np.testing.assert_array_equal(render_frame(image, 0), turned)
    assert [notice.code for notice in image.info.warnings] == ["EXIF_ORIENTATION"] * (orientation != 1)


@pytest.mark.parametrize("layout", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}], ids=["whole", "tiles", "strips"])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_jpeg_strips_and_tiles(layout: dict[str, Any], photometric: str) -> None:
    """Lossy and said so, near the picture that went in, and the very values of another reader."""
    frame = smooth_colour() if photometric == "rgb" else smooth_colour()[..., 0]
    data = tiff([frame], photometric=photometric, compression="jpeg", compressionargs={"level": 95}, **layout)
    image = read(data)
    np.testing.assert_array_equal(image.pixels[0].squeeze(), tifffile.imread(io.BytesIO(data)))
    assert int(np.abs(image.pixels[0].squeeze().astype(int) - frame).max()) < 16
    assert image.info.lossless is False


@pytest.mark.parametrize("photometric", [2, 6])
def test_jpeg_colours_are_what_the_page_says(photometric: int) -> None:
    """Luminance and chroma become RGB; what the page calls RGB stays as coded, whatever the stream's markers say."""
    stream = imagecodecs.jpeg8_encode(smooth_colour(), level=95, subsampling="444")
    fields = {**page_fields(64, 96, 8, photometric), 258: (8, 8, 8), 259: (7,), 277: (3,)}
    image = read(by_hand(fields, stream))
    space = "YCBCR" if photometric == 6 else "RGB"
    expected = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace="RGB")
    np.testing.assert_array_equal(image.pixels[0], expected)
    assert image.interpretation.photometric == "RGB"


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_jpeg_2000_tiles(kind: str) -> None:
    """Reversible JPEG 2000 gives the values back and is lossless."""
    frame = values(kind, 64, 64)
    image = read(tiff([frame], compression="jpeg2000", tile=(32, 32), compressionargs={"level": 0, "reversible": True}))
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    assert image.info.lossless is True


def test_fax_pages() -> None:
    """Single bits by ITU-T T.6; without its end mark the stream was cut, and nothing is painted white instead."""
    frame = (gradient(40, 64) > 99).astype(np.uint8)
    data = picture(frame.astype(bool), "TIFF", compression="group4")
    image = read(data)
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    at, count = page.dataoffsets[0], page.databytecounts[0]  # type: ignore[union-attr]  # a page, by index 0
    entry = (
        data.index(struct.pack("<HHI", 279, 3, 1))
        if struct.pack("<HHI", 279, 3, 1) in data
        else data.index(struct.pack("<HHI", 279, 4, 1))
    )
    cut = data[: entry + 8] + struct.pack("<I", count // 2) + data[entry + 12 :]
    assert at + count <= len(cut)
    with pytest.raises(TruncatedError):
        read(cut)


@pytest.mark.parametrize("cut", [3, 7, 9, 100, 1000, -20, -1])
@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"compression": "zlib", "tile": (16, 16)}])
def test_cut_files(cut: int, options: dict[str, Any]) -> None:
    """A file that ends early gives TRUNCATED, or is no TIFF at all; never half a picture."""
    data = tiff([values("uint8", 64, 64)], **options)
    tail_first = data[:cut]
    info = inspect(tail_first, LIMITS)
    assert info.error is not None
    assert info.error.code in {"TRUNCATED", "NOT_AN_IMAGE"}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({256: (0,)}, InconsistentHeaderError),
        ({256: (1 << 20,), 257: (1 << 20,)}, LimitExceededError),
        ({257: (9,)}, InconsistentHeaderError),
        ({258: (16,)}, InconsistentHeaderError),
        ({258: (3,)}, UnsupportedError),
        ({258: (16,), 339: (3,)}, UnsupportedError),
        ({258: (64,), 339: (1,)}, UnsupportedError),
        ({259: (6,)}, UnsupportedError),
        ({259: (3,)}, UnsupportedError),
        ({262: (8,)}, UnsupportedError),
        ({262: (2,)}, InconsistentHeaderError),
        ({262: (3,)}, InconsistentHeaderError),
        ({262: (6,), 277: (3,)}, UnsupportedError),
        ({273: (1 << 30,)}, TruncatedError),
        ({279: (1 << 30,)}, TruncatedError),
        ({273: (8,) * 4, 279: (64,) * 4, 278: (2,)}, InconsistentHeaderError),
        ({277: (3,)}, InconsistentHeaderError),
        ({277: (5,), 338: (0, 0, 0, 0)}, UnsupportedError),
        ({284: (3,)}, InconsistentHeaderError),
        ({322: (1 << 16,), 323: (1 << 16,), 324: (8,), 325: (64,)}, LimitExceededError),
        ({322: (0,), 323: (16,), 324: (8,), 325: (64,)}, InconsistentHeaderError),
        ({259: (5,), 317: (7,)}, UnsupportedError),
        ({259: (5,), 317: (3,)}, UnsupportedError),
        ({259: (8,)}, DecodeFailedError),
        ({259: (7,)}, DecodeFailedError),
        ({259: (34712,)}, DecodeFailedError),
        ({259: (4,), 258: (1,)}, TruncatedError),
        ({259: (4,)}, InconsistentHeaderError),
    ],
)
def test_headers_that_lie(fields: dict[int, tuple[int, ...]], error: type[InputError]) -> None:
    """Each impossible or contradictory field has its code, found before any allocation."""
    with pytest.raises(error):
        read(by_hand({**page_fields(8, 8), **fields}, bytes(range(64))))


def test_directories_in_a_circle_and_without_end() -> None:
    """A chain that comes back to itself, and more pages than allowed, are refused."""
    data = bytearray(tiff([values("uint8", 8, 8)] * 3))
    with pytest.raises(LimitExceededError):
        read_image(bytes(data), ReadLimits(frames=2))
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    with pytest.raises(InconsistentHeaderError):
        read(bytes(data))


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "zstd"])
def test_bombs_are_never_unpacked_beyond_their_page(compression: str) -> None:
    """A strip that holds more than its page gives the page or is refused, in no more memory than the page takes."""
    data = bytearray(tiff([np.zeros((512, 512), np.uint8)], compression=compression))
    for tag, value in ((256, 9), (257, 9), (278, 9)):
        for kind in (3, 4):
            at = data.find(struct.pack("<HHI", tag, kind, 1))
            if at >= 0:
                struct.pack_into("<I" if kind == 4 else "<H", data, at + 8, value)
    if compression in ("packbits", "zstd"):
        with pytest.raises(DecodeFailedError):
            read(bytes(data))
        return
    image = read(bytes(data))
    assert image.pixels.shape == (1, 9, 9, 1)
    assert not image.pixels.any()


def test_damage_of_every_kind_has_a_code() -> None:
    """1,200 files with random bytes changed or an end cut off: pixels or a leaf of the tree, nothing else."""
    rng = np.random.default_rng(5)
    frame = gradient(40, 48)
    originals = [
        tiff([frame, frame], compression="lzw", predictor=True),
        tiff([frame], compression="zlib", tile=(16, 16)),
        tiff([frame], compression="packbits", byteorder=">"),
        tiff([np.stack([frame] * 3, axis=-1)], photometric="rgb", bigtiff=True, planarconfig="contig"),
        tiff([frame], compression="jpeg"),
        tiff([frame], compression="jpeg2000"),
        picture(frame > 99, "TIFF", compression="group4"),
        tiff([frame.astype(np.float32)], compression="zlib", predictor="floatingpoint"),
    ]
    seen = set()
    for trial in range(1200):
        data = bytearray(originals[trial % len(originals)])
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(0, 256)
        if trial % 3 == 0:  # directories lie at the end or the start: damage there counts most
            at = int(rng.integers(0, 300))
            data[min(at, len(data) - 1)] = 255
        if trial % 7 == 0:
            del data[int(rng.integers(8, len(data))) :]
        info = inspect(bytes(data), LIMITS)
        seen.add(info.error.code if info.error else "OK")
    assert seen <= {
        "OK", "NOT_AN_IMAGE", "TRUNCATED", "INCONSISTENT_HEADER", "UNSUPPORTED", "DECODE_FAILED", "LIMIT_EXCEEDED",
    }  # fmt: skip
    assert {"OK", "TRUNCATED", "DECODE_FAILED", "INCONSISTENT_HEADER"} <= seen


@pytest.mark.data
def test_real_pages_are_those_of_another_reader(data_dir: Path) -> None:
    """Every TIFF of the data folder has the values that tifffile reads."""
    paths = sorted((data_dir / "odd_images").glob("*.tif"))
    for path in paths:
        image = read(path.read_bytes())
        expected = tifffile.imread(path, key=range(image.pixels.shape[0]))
        np.testing.assert_array_equal(image.pixels.reshape(expected.shape), expected)
    assert len(paths) == 5
