"""Strips and tiles of a TIFF page: decompressed, unpredicted, unpacked into samples."""

from __future__ import annotations

import zlib
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import DecodeFailedError, InconsistentHeaderError, IrmsiaError, TruncatedError
from irmsia.imaging.formats.jpeg2000 import parse_jpeg2000
from irmsia.imaging.formats.marker import parse_jpeg
from irmsia.imaging.formats.source import Draft, as_samples
from irmsia.imaging.formats.tiff_page import (
    CCITT_T6,
    DEFLATE,
    JPEG,
    JPEG2000,
    LZW,
    NONE,
    PACKBITS,
    YCBCR,
    ZSTD,
    TiffPage,
)

CODEC_NAMES = {
    CCITT_T6: "ccittfax4",
    LZW: "lzw",
    JPEG: "jpeg8",
    PACKBITS: "packbits",
    JPEG2000: "jpeg2k",
    ZSTD: "zstd",
}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FAX_END = f"{0x001001:024b}"  # EOFB of ITU-T T.6: two end-of-line codes
_HORIZONTAL, _FLOATING = 2, 3
_BITS_AT_ONCE = 1 << 23


def decode_segment(page: TiffPage, raw: bytes, shape: tuple[int, int, int], draft: Draft) -> NDArray[Any]:
    """One strip or tile as samples (rows, columns, samples) of ``shape``, native byte order.

    Raises:
        DecodeFailedError: the decoder refuses the bytes.
        TruncatedError: a compressed stream ends early.
        InconsistentHeaderError: it holds another size than the page says.
    """
    try:
        if page.compression == JPEG:
            return _decode_jpeg(page, raw, shape)
        if page.compression == JPEG2000:
            return _decode_jpeg2000(page, raw, shape, draft)
        if page.reversed_bits:
            raw = raw.translate(_REVERSED)
        if page.compression == CCITT_T6:
            return _decode_fax(raw, shape)
        return _unpredict(page, _unpack(page, _inflate(page, raw, shape), shape))
    except (IrmsiaError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - each codec has its own errors, and their texts are not ours to show
        raise DecodeFailedError("a strip or tile of the TIFF page cannot be decoded") from None


def _inflate(page: TiffPage, raw: bytes, shape: tuple[int, int, int]) -> bytes:
    """The bytes of the segment, never more than it needs."""
    rows, columns, samples = shape
    size = page.row_bytes(columns, samples) * rows
    if page.compression == NONE:
        whole = raw
    elif page.compression == DEFLATE:
        stream = zlib.decompressobj()
        whole = stream.decompress(raw, size + 1)
        if not stream.eof and len(whole) <= size:  # the checksum at its end is looked at as well
            raise TruncatedError("a deflated strip or tile of the TIFF page does not end")
    else:
        decode = {LZW: imagecodecs.lzw_decode, PACKBITS: imagecodecs.packbits_decode, ZSTD: imagecodecs.zstd_decode}
        whole = bytes(decode[page.compression](raw, out=size))
    if len(whole) < size:
        raise TruncatedError(f"a strip or tile of {len(whole)} bytes where the TIFF page needs {size}")
    return whole[:size]


def _unpack(page: TiffPage, whole: bytes, shape: tuple[int, int, int]) -> NDArray[Any]:
    rows, columns, samples = shape
    if page.predictor == _FLOATING:
        return np.frombuffer(whole, np.uint8).reshape(rows, -1)
    if page.bits in (8, 16, 32, 64):
        stored = page.dtype.newbyteorder("<" if page.little else ">")
        return np.frombuffer(whole, stored).reshape(shape).astype(page.dtype, copy=False)
    packed = np.frombuffer(whole, np.uint8).reshape(rows, -1)
    frame = np.empty((rows, columns * samples), page.dtype)
    block = max(1, _BITS_AT_ONCE // (packed.shape[1] * 8))
    for first in range(0, rows, block):
        frame[first : first + block] = _unpack_bits(packed[first : first + block], columns * samples, page)
    return frame.reshape(shape)


def _unpack_bits(packed: NDArray[np.uint8], count: int, page: TiffPage) -> NDArray[Any]:
    """Samples of ``page.bits`` bits, most significant first."""
    bits = np.unpackbits(packed, axis=1, count=count * page.bits)
    if page.bits == 1:
        return bits
    weights = (1 << np.arange(page.bits - 1, -1, -1)).astype(page.dtype)
    return np.asarray((bits.reshape(len(packed), count, page.bits) * weights).sum(axis=2, dtype=page.dtype))


def _unpredict(page: TiffPage, stored: NDArray[Any]) -> NDArray[Any]:
    if page.predictor == _HORIZONTAL:
        whole = stored.view(f"u{page.dtype.itemsize}")
        return np.cumsum(whole, axis=1, dtype=whole.dtype).view(page.dtype)
    if page.predictor != _FLOATING:
        return stored
    # Adobe technical note 3: bytes of a row by significance, highest first, differences between neighbours.
    width = page.dtype.itemsize
    samples = 1 if page.planar else page.samples
    rows = len(stored)
    flat = np.cumsum(stored.reshape(rows, -1, samples), axis=1, dtype=np.uint8).reshape(rows, width, -1)
    return (
        np.ascontiguousarray(flat.transpose(0, 2, 1)).view(f">f{width}").astype(page.dtype).reshape(rows, -1, samples)
    )


def _decode_fax(raw: bytes, shape: tuple[int, int, int]) -> NDArray[Any]:
    """The decoder paints white what a cut stream does not tell, so that the end mark is asked for."""
    rows, columns, _ = shape
    tail = "".join(f"{byte:08b}" for byte in raw.rstrip(b"\0")[-8:] + b"\0\0")
    if _FAX_END not in tail:
        raise TruncatedError("a fax stream in the TIFF file ends before its end mark")
    return as_samples(imagecodecs.ccittfax4_decode(raw, rows, columns).reshape(rows, columns))


def _decode_jpeg(page: TiffPage, raw: bytes, shape: tuple[int, int, int]) -> NDArray[Any]:
    head = parse_jpeg(raw)
    _check(page, shape, (head.rows, head.columns, head.components), head.precision)
    space = {3: "YCBCR" if page.photometric == YCBCR else "RGB"}.get(head.components)
    tables = page.tables or None
    if space is None:
        frame = imagecodecs.jpeg8_decode(raw, tables=tables)
    else:
        frame = imagecodecs.jpeg8_decode(raw, tables=tables, colorspace=space, outcolorspace="RGB")
    return as_samples(frame)[: shape[0]].astype(page.dtype, copy=False)


def _decode_jpeg2000(page: TiffPage, raw: bytes, shape: tuple[int, int, int], draft: Draft) -> NDArray[Any]:
    head = parse_jpeg2000(raw)
    _check(page, shape, (head.rows, head.columns, head.components), head.precision)
    if not head.reversible:
        draft.learn(lossless=False)
    return as_samples(imagecodecs.jpeg2k_decode(head.codestream, numthreads=1)).astype(page.dtype, copy=False)


def _check(page: TiffPage, shape: tuple[int, int, int], found: tuple[int, int, int], precision: int) -> None:
    """A last strip may be coded as high as the others; all else must be as the page says."""
    rows, columns, samples = shape
    fits = rows <= found[0] <= max(rows, page.tile_rows) and found[1:] == (columns, samples)
    if not fits or precision > 8 * page.dtype.itemsize:
        raise InconsistentHeaderError("a strip or tile is coded in another size or depth than the TIFF page says")
