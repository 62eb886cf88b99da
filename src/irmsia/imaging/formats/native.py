"""Pixels that are not compressed: from the bytes of a frame to the stored values of contract section 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError
from irmsia.imaging.formats.header import PixelHeader
from irmsia.imaging.formats.source import Draft

_HALF_RATE = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


def check_native_size(header: PixelHeader, length: int) -> None:
    """Compare what the header asks for with the bytes that are there.

    Raises:
        InconsistentHeaderError: less than rows x columns x samples x frames.
    """
    expected = _native_size(header)
    if length < expected:
        raise InconsistentHeaderError(f"{length} bytes of pixel data where the header asks for {expected}")


def _native_size(header: PixelHeader) -> int:
    return (header.frame_bits * header.frames + 7) // 8


def iter_native_frames(
    value: memoryview, header: PixelHeader, *, little: bool, words: bool, draft: Draft
) -> Iterator[NDArray[np.generic]]:
    """Give the frames one by one; the length was checked by `check_native_size`.

    Args:
        value: the whole pixel element.
        header: the checked Image Pixel module.
        little: byte order of the data set.
        words: whether the VR is OW, whose 8-bit samples are swapped in pairs in big endian (PS3.5 annex A.2).
        draft: gets a warning where the value is longer than the header says.
    """
    if len(value) > _native_size(header) + 1:
        draft.warn("HEADER_MISMATCH", "the pixel data are longer than the header says; the rest is left out")
    if not little and words and header.allocated <= 8:
        value = _swap_pairs(value)
    return (_native_frame(value, header, index, little) for index in range(header.frames))


def _swap_pairs(value: memoryview) -> memoryview:
    even = len(value) // 2 * 2
    swapped = np.frombuffer(value[:even], dtype=">u2").astype("<u2").tobytes()
    return memoryview(swapped + bytes(value[even:]))


def _native_frame(value: memoryview, header: PixelHeader, index: int, little: bool) -> NDArray[np.generic]:
    if header.allocated == 1:
        return _bit_frame(value, header, index)
    size = header.frame_bits // 8
    return decode_native(value[index * size : (index + 1) * size], header, little=little)


def decode_native(raw: memoryview | bytes, header: PixelHeader, *, little: bool = True) -> NDArray[np.generic]:
    """One frame of whole bytes as stored values (rows, columns, samples); ``raw`` has the frame's very size."""
    order = "<" if little else ">"
    kind = "f" if header.kind == "f" else "u"
    flat: NDArray[Any] = np.frombuffer(raw, dtype=f"{order}{kind}{header.allocated // 8}")
    if header.photometric in _HALF_RATE:
        return clean(_repeat_chroma(flat, header), header)
    if header.planar:
        frame = flat.reshape(header.samples, header.rows, header.columns).transpose(1, 2, 0)
    else:
        frame = flat.reshape(header.rows, header.columns, header.samples)
    return clean(frame, header)


def clean(frame: NDArray[Any], header: PixelHeader) -> NDArray[np.generic]:
    """Bits outside BitsStored removed, sign extended, native byte order, contiguous; a copy only where bits change."""
    frame = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("="))
    if header.kind == "f":
        return frame
    unused = header.allocated - header.stored
    kind = frame.dtype.type
    if header.kind == "i":
        signed = frame.view(frame.dtype.str.replace("u", "i"))
        # Left to the top, then back with the sign: whatever lay above and below is gone.
        return (
            (frame << kind(unused - header.shift)).view(signed.dtype) >> signed.dtype.type(unused) if unused else signed
        )
    if not unused or (not header.shift and int(frame.max(initial=0)) >> header.stored == 0):
        return frame
    return np.asarray((frame >> kind(header.shift)) & kind((1 << header.stored) - 1))


def extend_sign(frame: NDArray[Any], bits: int) -> NDArray[np.generic]:
    """Two's complement values of ``bits`` bits, held in an unsigned type, as the signed type of the same width."""
    signed = frame.dtype.str.replace("u", "i")
    if bits == frame.dtype.itemsize * 8:
        return frame.view(signed)
    sign = frame.dtype.type(1 << (bits - 1))
    return np.asarray(((frame ^ sign) - sign).view(signed))


def _repeat_chroma(flat: NDArray[Any], header: PixelHeader) -> NDArray[Any]:
    """Y Y Cb Cr for two neighbours: each gets both chroma samples (PS3.3 C.7.6.3.1.2)."""
    if header.columns % 2:
        raise InconsistentHeaderError("4:2:2 pixel data with an odd number of columns")
    pairs = flat.reshape(header.rows, header.columns // 2, 4)
    frame = np.empty((header.rows, header.columns, 3), dtype=flat.dtype)
    frame[:, 0::2, 0], frame[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
    frame[:, :, 1] = np.repeat(pairs[:, :, 2], 2, axis=1)
    frame[:, :, 2] = np.repeat(pairs[:, :, 3], 2, axis=1)
    return frame


def _bit_frame(value: memoryview, header: PixelHeader, index: int) -> NDArray[np.generic]:
    """Frames of bits follow each other without padding, least significant bit first (PS3.5 section 8.1.1)."""
    first = index * header.frame_bits
    return unpack_bits(value[first // 8 :], header, skip=first % 8)


def unpack_bits(raw: memoryview | bytes, header: PixelHeader, *, skip: int = 0) -> NDArray[np.generic]:
    """One frame of single bits as uint8 0 or 1; ``skip`` bits come before it."""
    count = skip + header.frame_bits
    packed = np.frombuffer(raw[: (count + 7) // 8], dtype=np.uint8)
    bits = np.unpackbits(packed, count=count, bitorder="little")[skip:]
    if header.planar:
        return np.ascontiguousarray(bits.reshape(header.samples, header.rows, header.columns).transpose(1, 2, 0))
    return bits.reshape(header.rows, header.columns, header.samples)
