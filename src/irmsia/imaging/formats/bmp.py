"""BMP files (Windows and OS/2 headers): palette, bit fields, true colour, run lengths, either row order."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError, TruncatedError, UnsupportedError
from irmsia.imaging.formats.bmp_rle import decode_runs
from irmsia.imaging.formats.source import Draft, Source, check_pixels, decode_once
from irmsia.imaging.limits import ReadLimits

_CORE, _INFO = 12, 40
_HEADERS = frozenset({_CORE, 16, _INFO, 52, 56, 64, 108, 124})
_OS2 = frozenset({16, 64})
_PLAIN, _RLE8, _RLE4, _FIELDS, _ALPHA_FIELDS = 0, 1, 2, 3, 6
_DEPTHS = {_PLAIN: (1, 2, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _FIELDS: (16, 32), _ALPHA_FIELDS: (16, 32)}
_MASKS = {16: (0x7C00, 0x03E0, 0x001F), 32: (0xFF0000, 0xFF00, 0xFF)}
_MASK_BYTES = {_FIELDS: 12, _ALPHA_FIELDS: 16}
_FILE_HEADER = 14
_PHOTOMETRIC = {1: "GREY", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True)
class _Head:
    """``palette``: (entries, 1 or 3) bytes, or None; ``masks``: of red, green, blue and perhaps alpha."""

    rows: int
    columns: int
    top_down: bool
    depth: int
    compression: int
    pixels_at: int
    palette: NDArray[np.uint8] | None
    masks: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Bytes of one plain row: whole words of four bytes."""
        return (self.columns * self.depth + 31) // 32 * 4

    @property
    def samples(self) -> int:
        """Of the frame, palette expanded."""
        if self.palette is not None:
            return int(self.palette.shape[1])
        return len(self.masks) or 3


def open_bmp(data: memoryview, *, limits: ReadLimits, draft: Draft) -> Source:
    """Check the header of a BMP file and give its one frame, uint8.

    A palette of greys gives one sample, black and white as 0 and 1; any other three. The unused byte of 32 bits is left
    out, alpha is kept where a mask names it; bit fields are scaled to 0..255.

    Raises:
        InconsistentHeaderError: an impossible header, or an index outside the palette.
        TruncatedError: less pixel data than the header announces.
        UnsupportedError: an embedded JPEG or PNG, fields wider than a byte.
        LimitExceededError: too many pixels.
    """
    head = _read_head(data, limits)
    draft.learn(shape=(1, head.rows, head.columns, head.samples), dtype="uint8", lossless=True, decoder="irmsia bmp")
    is_bilevel = head.palette is not None and head.samples == 1 and int(head.palette.max(initial=0)) == 1
    draft.look(photometric=_PHOTOMETRIC[head.samples], bits_stored=1 if is_bilevel else 8)
    if head.compression not in (_RLE8, _RLE4) and len(data) - head.pixels_at < head.stride * head.rows:
        raise TruncatedError("the BMP file ends inside its pixels")
    return Source(1, decode_once(lambda: _decode(data, head)))


def _read_head(data: memoryview, limits: ReadLimits) -> _Head:
    pixels_at, size = _unpack(data, 10, "<II")
    if size not in _HEADERS:
        raise InconsistentHeaderError("a BMP header of an unknown length")
    if size == _CORE:
        columns, rows, planes, depth = _unpack(data, 18, "<HHHH")
        compression = used = 0
    else:
        columns, rows, planes, depth = _unpack(data, 18, "<iiHH")
        compression = _unpack(data, 30, "<I")[0] if size >= _INFO else 0
        used = _unpack(data, 46, "<I")[0] if size >= _INFO else 0
    if columns < 1 or not rows or planes != 1:
        raise InconsistentHeaderError("an impossible BMP header")
    check_pixels(abs(rows), columns, limits)
    _check_compression(compression, depth, size, top_down=rows < 0)
    masks = _read_masks(data, compression, depth, size)
    behind = _FILE_HEADER + size + (_MASK_BYTES.get(compression, 0) if size == _INFO else 0)
    if not behind <= pixels_at:
        raise InconsistentHeaderError("the pixels of the BMP file lie within its header")
    palette = _read_palette(data, behind, pixels_at, entry=3 if size == _CORE else 4, depth=depth, used=used)
    return _Head(abs(rows), columns, rows < 0, depth, compression, pixels_at, palette, masks)


def _check_compression(compression: int, depth: int, size: int, *, top_down: bool) -> None:
    if compression not in _DEPTHS or (size in _OS2 and compression == _FIELDS):
        raise UnsupportedError("a BMP compression that is not read")
    if depth not in _DEPTHS[compression] or (top_down and compression in (_RLE8, _RLE4)):
        raise InconsistentHeaderError(f"an impossible BMP header: {depth} bits")


def _read_masks(data: memoryview, compression: int, depth: int, size: int) -> tuple[int, ...]:
    """Red, green, blue and, where it has bits, alpha; () where pixels are bytes or indices."""
    if compression == _PLAIN:
        return _MASKS.get(depth, ())
    if compression not in (_FIELDS, _ALPHA_FIELDS):
        return ()
    has_alpha = compression == _ALPHA_FIELDS or size >= 56
    masks = _unpack(data, _FILE_HEADER + _INFO, "<4I" if has_alpha else "<3I")
    if any(a & b for index, a in enumerate(masks) for b in masks[:index]) or any(mask >> depth for mask in masks):
        raise InconsistentHeaderError("BMP bit fields that overlap or leave the pixel")
    for mask in masks:
        _bounds(mask)
    return masks if masks[-1] else masks[:3]


def _bounds(mask: int) -> tuple[int, int]:
    """Shift and largest value of a bit field."""
    if not mask:
        return 0, 0
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    if top & (top + 1):
        raise InconsistentHeaderError("a BMP bit field with a hole")
    if top > 0xFF:
        raise UnsupportedError("a BMP bit field wider than a byte")
    return shift, top


def _read_palette(
    data: memoryview, at: int, pixels_at: int, *, entry: int, depth: int, used: int
) -> NDArray[np.uint8] | None:
    """(entries, 1) for greys, black and white as 0 and 1; else (entries, 3); None for direct colour."""
    if depth > 8:
        return None
    entries = min(used or 1 << depth, 1 << depth, (pixels_at - at) // entry)
    if entries < 1:
        raise InconsistentHeaderError("a BMP file without its palette")
    if at + entries * entry > len(data):
        raise TruncatedError("the BMP file ends inside its palette")
    colours = np.frombuffer(data[at : at + entries * entry], np.uint8).reshape(entries, entry)[:, 2::-1]
    if (colours != colours[:, :1]).any():
        return np.ascontiguousarray(colours)
    greys = np.ascontiguousarray(colours[:, :1])
    return greys // 255 if depth == 1 and np.isin(greys, (0, 255)).all() else greys


def _decode(data: memoryview, head: _Head) -> NDArray[np.generic]:
    if head.compression in (_RLE8, _RLE4):
        stored = decode_runs(data[head.pixels_at :], head.rows, head.columns, half=head.compression == _RLE4)
    else:
        whole = data[head.pixels_at : head.pixels_at + head.stride * head.rows]
        stored = _unpack_rows(np.frombuffer(whole, np.uint8).reshape(head.rows, head.stride), head)
    if head.palette is not None:
        if int(stored.max(initial=0)) >= len(head.palette):
            raise InconsistentHeaderError("a palette index outside the palette")
        return np.take(head.palette, stored if head.top_down else stored[::-1], axis=0)
    return np.ascontiguousarray(stored if head.top_down else stored[::-1])


def _unpack_rows(rows: NDArray[np.uint8], head: _Head) -> NDArray[Any]:
    """Indices (rows, columns), or colours (rows, columns, samples), in file order."""
    if head.depth == 24:
        return rows[:, : head.columns * 3].reshape(head.rows, head.columns, 3)[..., ::-1]
    if head.depth > 8:
        return _unmask(rows[:, : head.columns * head.depth // 8].view(f"<u{head.depth // 8}"), head.masks)
    if head.depth == 8:
        return rows[:, : head.columns]
    mask = np.uint8((1 << head.depth) - 1)
    parts = [(rows >> np.uint8(shift)) & mask for shift in range(8 - head.depth, -1, -head.depth)]
    return np.stack(parts, axis=-1).reshape(head.rows, -1)[:, : head.columns]


def _unmask(pixels: NDArray[Any], masks: tuple[int, ...]) -> NDArray[np.uint8]:
    frame = np.empty((*pixels.shape, len(masks)), np.uint8)
    for sample, mask in enumerate(masks):
        shift, top = _bounds(mask)
        scale = np.rint(np.arange(top + 1) * 255.0 / max(top, 1)).astype(np.uint8)
        frame[..., sample] = scale[(pixels & pixels.dtype.type(mask)) >> pixels.dtype.type(shift)]
    return frame


def _unpack(data: memoryview, at: int, layout: str) -> tuple[int, ...]:
    if at + struct.calcsize(layout) > len(data):
        raise TruncatedError("the BMP file ends inside its header")
    return struct.unpack_from(layout, data, at)
