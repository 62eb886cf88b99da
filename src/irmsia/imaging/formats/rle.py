"""RLE Lossless (PS3.5 annex G): the segment table is checked here, PackBits is undone by imagecodecs."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import DecodeFailedError, InconsistentHeaderError, TruncatedError
from irmsia.imaging.formats.header import PixelHeader
from irmsia.imaging.formats.native import clean

_TABLE_BYTES = 64
_MOST_SEGMENTS = 15


def decode_rle(stream: bytes, header: PixelHeader) -> NDArray[np.generic]:
    """One RLE frame as stored values (rows, columns, samples).

    Raises:
        InconsistentHeaderError: the segment table does not fit the header or points outside the frame.
        DecodeFailedError: a segment is broken or holds another number of bytes than the frame needs.
        TruncatedError: the frame is shorter than its table.
    """
    width = max(1, header.allocated // 8)
    segments = _segments(stream, header.samples * width)
    if header.allocated == 1:
        return _decode_bits(segments, header)
    planes = [_unpack(segment, header.pixels) for segment in segments]
    samples = [_composed(planes[at : at + width], width) for at in range(0, len(planes), width)]
    values = samples[0] if len(samples) == 1 else np.stack(samples, axis=-1)
    return clean(values.reshape(header.rows, header.columns, header.samples), header)


def _composed(planes: list[NDArray[np.uint8]], width: int) -> NDArray[np.generic]:
    """One sample of every pixel from its bytes, the most significant first."""
    values = planes[0].astype(f"<u{width}", copy=False)
    for plane in planes[1:]:
        values <<= 8
        values |= plane
    return values


def _segments(stream: bytes, expected: int) -> list[memoryview]:
    if len(stream) < _TABLE_BYTES:
        raise TruncatedError("an RLE frame is shorter than its segment table")
    count, *offsets = struct.unpack_from("<16I", stream)
    if count != expected or count > _MOST_SEGMENTS:
        raise InconsistentHeaderError(f"{count} RLE segments where the header asks for {expected}")
    bounds = [*offsets[:count], len(stream)]
    if bounds[0] < _TABLE_BYTES or any(bounds[i] >= bounds[i + 1] for i in range(count)):
        raise InconsistentHeaderError("an RLE segment offset points outside the frame")
    view = memoryview(stream)
    return [view[bounds[i] : bounds[i + 1]] for i in range(count)]


def _unpack(segment: memoryview, size: int) -> NDArray[np.uint8]:
    """Undo PackBits into ``size`` bytes. One zero byte of padding may follow the runs."""
    target = bytearray(size)
    for packed in (segment, segment[:-1]):
        try:
            found = imagecodecs.packbits_decode(bytes(packed), out=target)
        except Exception:  # noqa: BLE001 - the codec's own errors
            continue
        if len(found) == size:
            return np.frombuffer(target, dtype=np.uint8)
    raise DecodeFailedError("an RLE segment does not hold the bytes of its frame")


def _decode_bits(segments: list[memoryview], header: PixelHeader) -> NDArray[np.generic]:
    size = (header.pixels + 7) // 8
    planes = [np.unpackbits(_unpack(segment, size), count=header.pixels, bitorder="little") for segment in segments]
    return np.ascontiguousarray(np.stack(planes, axis=-1).reshape(header.rows, header.columns, header.samples))
