"""BMP: every depth, row order, bit fields and run lengths, against the values that went in and against Pillow."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from irmsia.errors import (
    InconsistentHeaderError,
    InputError,
    LimitExceededError,
    TruncatedError,
    UnsupportedError,
)
from irmsia.imaging.digest import frame_digest
from irmsia.imaging.read import inspect, read_image
from irmsia.imaging.types import Image
from tests.imaging.samples import LIMITS, gradient, picture

RNG = np.random.default_rng(13)
ROWS, COLUMNS = 13, 21


def bmp(
    pixels: bytes,
    *,
    depth: int,
    rows: int = ROWS,
    columns: int = COLUMNS,
    compression: int = 0,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    size: int = 40,
    used: int = 0,
) -> bytes:
    """A BMP file by hand."""
    if size == 12:
        head = struct.pack("<IHHHH", 12, columns, rows, 1, depth)
    else:
        head = struct.pack("<IiiHHIIiiII", 40, columns, rows, 1, depth, compression, len(pixels), 0, 0, used, 0)
        head += struct.pack(f"<{len(masks)}I", *masks)
        if size > 40:
            head = struct.pack("<I", size) + head[4:].ljust(size - 4, b"\0")
    at = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + head + palette + pixels


def rows_of(packed: NDArray[np.uint8], *, top_down: bool = False) -> bytes:
    """Rows (rows, bytes) padded to four bytes, bottom row first unless told."""
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4)))
    return (padded if top_down else padded[::-1]).tobytes()


def pack_bits(indices: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    """Indices of ``depth`` bits, most significant first, each row in whole bytes."""
    padded = np.pad(indices, ((0, 0), (0, -indices.shape[1] % (8 // depth))))
    bits = (padded[:, :, None] >> np.arange(depth - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(bits.reshape(len(indices), -1), axis=1)


def read(data: bytes) -> Image:
    """By the reader under test."""
    return read_image(data, LIMITS)


def pillow(data: bytes) -> NDArray[Any]:
    """RGB by another reader."""
    with PillowImage.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [12, 40, 108, 124])
@pytest.mark.parametrize("top_down", [False, True])
def test_palettes_are_expanded(depth: int, size: int, top_down: bool) -> None:
    """Indices become colours, whatever the header's age and the order of rows."""
    entry = 3 if size == 12 else 4
    colours = RNG.integers(0, 256, (1 << depth, entry), dtype=np.uint8)
    indices = RNG.integers(0, 1 << depth, (ROWS, COLUMNS), dtype=np.uint8)
    top_down = top_down and size != 12
    pixels = rows_of(pack_bits(indices, depth), top_down=top_down)
    rows = -ROWS if top_down else ROWS
    image = read(bmp(pixels, depth=depth, rows=rows, palette=colours.tobytes(), size=size))
    np.testing.assert_array_equal(image.pixels[0], colours[indices][..., 2::-1])
    assert (image.info.dtype, image.info.lossless, image.interpretation.photometric) == ("uint8", True, "RGB")


def test_grey_palettes_give_one_sample() -> None:
    """A picture of greys has the digest that it has as PNG and TIFF; black and white are 0 and 1."""
    frame = gradient()
    digests = {kind: read(picture(frame, kind)).info.frame_sha256 for kind in ("BMP", "PNG", "TIFF")}
    assert set(digests.values()) == {(frame_digest(frame),)}
    bits = frame > 99
    digests = {kind: read(picture(bits, kind)).info.frame_sha256 for kind in ("BMP", "PNG", "TIFF")}
    assert set(digests.values()) == {(frame_digest(bits.astype(np.uint8)),)}
    turned = bmp(
        rows_of(pack_bits(bits.astype(np.uint8), 1)), depth=1, rows=24, columns=32, palette=b"\xff" * 4 + bytes(4)
    )
    np.testing.assert_array_equal(read(turned).pixels[0, :, :, 0], ~bits)


def test_true_colour_as_pillow_writes_it() -> None:
    """24 bits a pixel, rows padded to four bytes."""
    frame = RNG.integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read(picture(frame, "BMP")).pixels[0], frame)


def test_the_unused_byte_of_32_bits_is_left_out() -> None:
    """Plain 32-bit pixels are three samples: the fourth byte means nothing."""
    frame = RNG.integers(0, 256, (ROWS, COLUMNS, 4), dtype=np.uint8)
    data = bmp(rows_of(frame.reshape(ROWS, -1)), depth=32)
    np.testing.assert_array_equal(read(data).pixels[0], frame[..., 2::-1])
    np.testing.assert_array_equal(read(data).pixels[0], pillow(data))


@pytest.mark.parametrize(
    ("masks", "compression"), [((), 0), ((0xF800, 0x07E0, 0x001F), 3), ((0x0F00, 0x00F0, 0x000F, 0xF000), 6)]
)
def test_bit_fields_of_16_bits(masks: tuple[int, ...], compression: int) -> None:
    """5-5-5, 5-6-5 and 4-4-4-4: the largest value of a field becomes 255, zero stays zero."""
    pixels = RNG.integers(0, 1 << 16, (ROWS, COLUMNS), dtype=np.uint16)
    data = bmp(rows_of(pixels.view(np.uint8)), depth=16, masks=masks, compression=compression)
    expected = []
    for mask in masks or (0x7C00, 0x03E0, 0x001F):
        low = mask & -mask
        expected.append(np.rint((pixels & mask) // low * 255.0 / (mask // low)))
    np.testing.assert_array_equal(read(data).pixels[0], np.stack(expected, axis=-1))


def runs_of(indices: NDArray[np.uint8], *, half: bool) -> bytes:
    """Bottom row first: encoded runs of one value, and literals where they are three or more."""
    out = bytearray()
    for row in indices[::-1]:
        at = 0
        while at < len(row):
            count = 1
            while at + count < len(row) and row[at + count] == row[at] and count < 255:
                count += 1
            if count == 1 and at + 4 <= len(row):
                literal = row[at : at + 4]
                body = (
                    bytes([literal[0] << 4 | literal[1], literal[2] << 4 | literal[3]]) if half else literal.tobytes()
                )
                out += bytes([0, 4]) + body
                at += 4
                continue
            out += bytes([count, int(row[at]) * 17 if half else int(row[at])])
            at += count
        out += b"\0\0"
    return bytes(out) + b"\0\1"


@pytest.mark.parametrize("half", [False, True])
def test_run_lengths(half: bool) -> None:
    """Runs, literals and line ends of 8 and 4 bits, and the same picture by another reader."""
    depth = 4 if half else 8
    indices = np.repeat(RNG.integers(0, 1 << depth, (ROWS, COLUMNS // 3), dtype=np.uint8), 3, axis=1)
    indices[:, 5:12] = RNG.integers(0, 1 << depth, (ROWS, 7), dtype=np.uint8)
    colours = RNG.integers(0, 256, (1 << depth, 4), dtype=np.uint8)
    data = bmp(
        runs_of(indices, half=half),
        depth=depth,
        columns=indices.shape[1],
        compression=2 if half else 1,
        palette=colours.tobytes(),
    )
    np.testing.assert_array_equal(read(data).pixels[0], colours[indices][..., 2::-1])
    np.testing.assert_array_equal(read(data).pixels[0], pillow(data))


def test_a_delta_moves_and_an_early_end_leaves_index_0() -> None:
    """Skipped pixels have index 0; a stream without an end mark must have filled the picture."""
    palette = bytes(range(0, 64, 4)) * 4
    data = bmp(b"\2\1\0\2\1\1\2\3\0\1", depth=8, rows=3, columns=5, compression=1, palette=palette * 16)
    expected = np.zeros((3, 5), np.uint8)
    expected[2, :2], expected[1, 3:] = 1, 3
    lookup = np.frombuffer(palette * 16, np.uint8).reshape(-1, 4)[:256, 2::-1]
    np.testing.assert_array_equal(read(data).pixels[0], lookup[expected])
    whole = b"\5\1\0\0" * 3
    assert read(bmp(whole, depth=8, rows=3, columns=5, compression=1, palette=palette * 16)).pixels.shape[1:3] == (3, 5)
    with pytest.raises(TruncatedError):
        read(bmp(whole[:-4], depth=8, rows=3, columns=5, compression=1, palette=palette * 16))


_GREY = b"".join(bytes([value, value, value, 0]) for value in range(256))
_PLAIN = {"depth": 8, "palette": _GREY, "pixels": bytes(24 * ROWS)}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"columns": 0}, InconsistentHeaderError),
        ({"rows": 0}, InconsistentHeaderError),
        ({"rows": 1 << 20, "columns": 1 << 20}, LimitExceededError),
        ({"rows": -(1 << 31), "columns": 1 << 20}, LimitExceededError),
        ({"rows": ROWS + 1}, TruncatedError),
        ({"depth": 3}, InconsistentHeaderError),
        ({"depth": 24}, TruncatedError),
        ({"compression": 4}, UnsupportedError),
        ({"compression": 5}, UnsupportedError),
        ({"compression": 2}, InconsistentHeaderError),
        ({"compression": 1, "rows": -ROWS}, InconsistentHeaderError),
        ({"compression": 1}, TruncatedError),
        ({"compression": 1, "pixels": b"\x16\0"}, InconsistentHeaderError),
        ({"compression": 1, "pixels": b"\0\2\0"}, TruncatedError),
        ({"compression": 1, "pixels": b"\0\2\0\xff\1\1"}, InconsistentHeaderError),
        ({"palette": b""}, InconsistentHeaderError),
        ({"palette": _GREY[:64], "pixels": b"\x10" * 24 * ROWS}, InconsistentHeaderError),
        ({"depth": 32, "compression": 3, "masks": (0xFF, 0xFF, 0xFF00)}, InconsistentHeaderError),
        ({"depth": 32, "compression": 3, "masks": (0xF5, 0xF00, 0xF0000)}, InconsistentHeaderError),
        ({"depth": 32, "compression": 3, "masks": (0x3FF, 0xFFC00, 0x3FF00000)}, UnsupportedError),
        ({"depth": 16, "compression": 3, "masks": (0xFF0000, 0xFF00, 0xFF)}, InconsistentHeaderError),
    ],
)
def test_headers_that_lie(changes: dict[str, Any], error: type[InputError]) -> None:
    """Each impossible header, short file and index outside the palette has its code."""
    options = {**_PLAIN, **changes}
    with pytest.raises(error):
        read(bmp(options.pop("pixels"), **options))


def test_damage_of_every_kind_has_a_code() -> None:
    """1,000 files with random bytes changed or an end cut off: pixels or a leaf of the tree, nothing else."""
    rng = np.random.default_rng(6)
    colours = RNG.integers(0, 256, (256, 4), dtype=np.uint8).tobytes()
    indices = RNG.integers(0, 16, (ROWS, COLUMNS), dtype=np.uint8)
    originals = [
        picture(gradient(), "BMP"),
        picture(np.stack([gradient()] * 3, axis=-1), "BMP"),
        bmp(runs_of(indices, half=False), depth=8, compression=1, palette=colours),
        bmp(runs_of(indices, half=True), depth=4, compression=2, palette=colours[:64]),
        bmp(bytes(44 * ROWS), depth=16, compression=3, masks=(0xF800, 0x7E0, 0x1F)),
    ]
    seen = set()
    for trial in range(1000):
        data = bytearray(originals[trial % len(originals)])
        for at in rng.integers(0, 60 if trial % 2 else len(data), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        if trial % 7 == 0:
            del data[int(rng.integers(2, len(data))) :]
        info = inspect(bytes(data), LIMITS)
        seen.add(info.error.code if info.error else "OK")
    assert {"OK", "TRUNCATED", "INCONSISTENT_HEADER"} <= seen <= {
        "OK", "NOT_AN_IMAGE", "TRUNCATED", "INCONSISTENT_HEADER", "UNSUPPORTED", "DECODE_FAILED", "LIMIT_EXCEEDED",
    }  # fmt: skip
