"""PNG and JPEG files: samples as decoded, exactly, in every kind a viewer writes."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from irmsia.errors import DecodeFailedError, TruncatedError
from irmsia.imaging.digest import frame_digest
from irmsia.imaging.read import read_image
from irmsia.imaging.render import render_frame
from tests.imaging.samples import LIMITS, gradient, picture

RNG = np.random.default_rng(3)


def _png(array: NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)
    assert done
    return bytes(data)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_round_trip(kind: str, samples: int) -> None:
    """Grey, grey with alpha, RGB, RGBA; 8 and 16 bits: what was written is what is read."""
    frame = RNG.integers(0, np.iinfo(kind).max, (11, 13, samples), dtype=kind)
    image = read_image(imagecodecs.png_encode(frame if samples > 1 else frame[:, :, 0]), LIMITS)
    np.testing.assert_array_equal(image.pixels[0], frame)
    assert image.info.frame_sha256 == (frame_digest(frame),)
    assert image.interpretation.photometric == ["GREY", "GREY_ALPHA", "RGB", "RGBA"][samples - 1]
    assert image.info.lossless is True


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png_is_expanded(bits: int) -> None:
    """The palette's colours, not its indices; with transparency an alpha sample."""
    indices = RNG.integers(0, 2**bits, (9, 10), dtype=np.uint8)
    colours = RNG.integers(0, 255, (2**bits, 3), dtype=np.uint8)
    source = PillowImage.new("P", (10, 9))
    source.putdata(indices.ravel().tolist())
    source.putpalette(colours.ravel().tolist())
    import io

    buffer = io.BytesIO()
    source.save(buffer, "PNG", bits=bits)
    np.testing.assert_array_equal(read_image(buffer.getvalue(), LIMITS).pixels[0], colours[indices])
    buffer = io.BytesIO()
    source.save(buffer, "PNG", bits=bits, transparency=0)
    pixels = read_image(buffer.getvalue(), LIMITS).pixels[0]
    np.testing.assert_array_equal(pixels[..., :3], colours[indices])
    np.testing.assert_array_equal(pixels[..., 3], np.where(indices == 0, 0, 255))


def test_one_bit_png_is_0_and_1() -> None:
    """Contract section 1: 1-bit as uint8 0 or 1."""
    bits = RNG.integers(0, 2, (9, 10)).astype(bool)
    image = read_image(picture(bits, "PNG"), LIMITS)
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], bits.astype(np.uint8))
    assert (image.info.dtype, image.interpretation.bits_stored) == ("uint8", 1)


@pytest.mark.parametrize("clear", [0, 1, 255])
def test_one_bit_png_with_a_transparent_value(clear: int) -> None:
    """Grey and alpha are both 0 or 1, also where the writer named the value by 255: its lowest bit counts."""
    frame = gradient() > 99
    image = read_image(picture(frame, "PNG", transparency=clear), LIMITS)
    opaque = frame != bool(clear)
    np.testing.assert_array_equal(image.pixels[0], np.stack([frame, opaque], axis=-1).astype(np.uint8))
    assert (image.interpretation.photometric, image.interpretation.bits_stored) == ("GREY_ALPHA", 1)
    np.testing.assert_array_equal(render_frame(image, 0), frame * np.uint8(255))


def test_ancillary_chunks_change_nothing() -> None:
    """Gamma, profile and text chunks, even a compressed bomb of text, are not looked at."""
    plain = picture(gradient(), "PNG")
    bomb = b"zTXt" + b"note\0\0" + zlib.compress(bytes(1 << 22))
    gamma = b"gAMA" + struct.pack(">I", 45455)
    extra = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (gamma, bomb)
    )
    changed = plain[:33] + extra + plain[33:]
    assert read_image(changed, LIMITS).info.frame_sha256 == read_image(plain, LIMITS).info.frame_sha256


@pytest.mark.parametrize("cut", [8, 20, 40, 60, -1])
def test_cut_png(cut: int) -> None:
    """Cut anywhere behind its signature: TRUNCATED."""
    with pytest.raises(TruncatedError):
        read_image(picture(gradient(), "PNG")[:cut], LIMITS)


def test_a_flipped_bit_in_a_png_is_seen() -> None:
    """Checksums show it, whichever chunk it is in."""
    whole = picture(gradient(), "PNG")
    for at in range(16, len(whole) - 12, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        with pytest.raises((DecodeFailedError, TruncatedError)):
            read_image(bytes(damaged), LIMITS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 30}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_read_as_pillow_reads_it(mode: str, options: dict[str, Any]) -> None:
    """Baseline and progressive; grey, RGB and CMYK: the samples as decoded."""
    import io

    buffer = io.BytesIO()
    base = PillowImage.fromarray(np.stack([gradient(), gradient()[::-1], gradient()[:, ::-1]], axis=-1), "RGB")
    base.convert(mode).save(buffer, "JPEG", **options)
    with PillowImage.open(buffer) as reference:
        expected = np.asarray(reference)
    image = read_image(buffer.getvalue(), LIMITS)
    np.testing.assert_array_equal(image.pixels[0].reshape(expected.shape), expected)
    assert image.info.lossless is False
    assert "LOSSY" in {notice.code for notice in image.info.warnings}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_told_and_not_applied(orientation: int, kind: str) -> None:
    """The digest is of the stored samples whatever the orientation; a warning says so when it is not upright."""
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    image = read_image(picture(gradient(), kind, exif=exif.tobytes()), LIMITS)
    assert image.interpretation.exif_orientation == orientation
    assert image.info.shape == (1, 24, 32, 1)
    plain = read_image(picture(gradient(), kind), LIMITS)
    assert image.info.frame_sha256 == plain.info.frame_sha256
    warned = "EXIF_ORIENTATION" in {notice.code for notice in image.info.warnings}
    assert warned == (orientation != 1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_cut_jpeg_is_never_half_an_image(share: float) -> None:
    """Cut anywhere, a JPEG is TRUNCATED and gives no pixels."""
    whole = picture(RNG.integers(0, 255, (40, 50), dtype=np.uint8), "JPEG", progressive=True)
    with pytest.raises(TruncatedError):
        read_image(whole[: int(len(whole) * share)], LIMITS)
