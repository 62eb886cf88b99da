"""One page of a TIFF file, proved by arithmetic: what its samples are and where its strips or tiles lie (TIFF 6.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError, LimitExceededError, TruncatedError, UnsupportedError
from irmsia.imaging.formats import tiff_directory as tags
from irmsia.imaging.formats.source import check_pixels
from irmsia.imaging.formats.tiff_directory import Directory
from irmsia.imaging.limits import ReadLimits

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
NONE, CCITT_T6, LZW, JPEG, DEFLATE, PACKBITS, JPEG2000, ZSTD = 1, 4, 5, 7, 8, 32773, 34712, 50000
_COMPRESSIONS = {code: code for code in (NONE, CCITT_T6, LZW, JPEG, DEFLATE, PACKBITS, JPEG2000, ZSTD)} | {
    32946: DEFLATE
}
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3}
_WIDTHS = {"u": (1, 2, 4, 8, 10, 12, 14, 16, 32), "i": (8, 16, 32), "f": (32, 64)}
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
_NO_PREDICTOR, _HORIZONTAL, _FLOATING = 1, 2, 3
_CMYK_INKS = 1
_WHOLE_STRIP = 0xFFFFFFFF
_MOST_EXPANSION = 1 << 12  # no byte of LZW, deflate or PackBits can become more
_DENSE = frozenset({NONE, LZW, DEFLATE, PACKBITS})
_REDUCED_OR_MASK = 0b101


@dataclass(frozen=True, slots=True)
class TiffPage:
    """A checked page. Strips are tiles as wide as the picture.

    ``kind``: ``u``, ``i`` or ``f``; ``bits``: of a stored sample; ``offsets`` and ``counts``: of strips or tiles, all
    within the file, plane after plane where ``planar``; ``palette``: (entries, 3).
    """

    little: bool
    rows: int
    columns: int
    samples: int
    bits: int
    kind: str
    photometric: int
    compression: int
    predictor: int
    planar: bool
    reversed_bits: bool
    tiled: bool
    tile_rows: int
    tile_columns: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes
    palette: NDArray[Any] | None
    orientation: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native type of a stored sample."""
        width = next(width for width in (8, 16, 32, 64) if self.bits <= width)
        return np.dtype(f"{self.kind}{width // 8}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the frame, palette expanded."""
        return self.rows, self.columns, 3 if self.palette is not None else self.samples

    @property
    def frame_dtype(self) -> np.dtype[Any]:
        """Of the frame, palette expanded."""
        return self.palette.dtype if self.palette is not None else self.dtype

    @property
    def look(self) -> tuple[Any, ...]:
        """What all pages of a file must share."""
        return *self.shape, self.frame_dtype, self.photometric, self.bits, self.orientation

    def row_bytes(self, columns: int, samples: int) -> int:
        """Bytes of one unpacked row; each begins on a byte."""
        return (columns * samples * self.bits + 7) // 8


def is_page(directory: Directory) -> bool:
    """False for a reduced copy or a transparency mask of another page."""
    return not directory.number(tags.NEW_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK


def read_page(directory: Directory, size: int, limits: ReadLimits) -> TiffPage:
    """Check one directory of a file of ``size`` bytes.

    Raises:
        InconsistentHeaderError: fields are missing, impossible or contradict each other.
        UnsupportedError: a colour space, sample width or compression that is not read.
        LimitExceededError: too many pixels or bytes.
        TruncatedError: a strip or tile lies behind the end of the file.
    """
    rows, columns = directory.number(tags.ROWS), directory.number(tags.COLUMNS)
    if not rows or not columns:
        raise InconsistentHeaderError("a TIFF page without rows or columns")
    check_pixels(rows, columns, limits)
    compression = _COMPRESSIONS.get(directory.number(tags.COMPRESSION, NONE))
    if compression is None:
        raise UnsupportedError("a TIFF compression that is not read")
    photometric, samples = _colours(directory)
    bits, kind = _depth(directory, samples)
    planar = _planar(directory, samples)
    tiled = tags.TILE_OFFSETS in directory.fields
    tile_rows, tile_columns = _tile(directory, rows, columns, tiled=tiled)
    check_pixels(tile_rows, tile_columns, limits)
    page = TiffPage(
        little=directory.little,
        rows=rows,
        columns=columns,
        samples=samples,
        bits=bits,
        kind=kind,
        photometric=photometric,
        compression=compression,
        predictor=_predictor(directory, compression, bits=bits, kind=kind),
        planar=planar,
        reversed_bits=directory.number(tags.FILL_ORDER, 1) == 2,
        tiled=tiled,
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        offsets=directory.fields.get(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS, ()),
        counts=directory.fields.get(tags.TILE_BYTES if tiled else tags.STRIP_BYTES, ()),
        tables=bytes(directory.fields.get(tags.JPEG_TABLES, ())) if compression == JPEG else b"",
        palette=_palette(directory, bits) if photometric == PALETTE else None,
        orientation=_orientation(directory),
    )
    _check_codec(page)
    _check_memory(page, limits)
    _check_segments(page, size)
    return page


def _colours(directory: Directory) -> tuple[int, int]:
    photometric = directory.number(tags.PHOTOMETRIC)
    colours = _COLOURS.get(photometric)
    if colours is None or directory.number(tags.INK_SET, _CMYK_INKS) != _CMYK_INKS:
        raise UnsupportedError("a TIFF colour space that is not read")
    samples = directory.number(tags.SAMPLES, 1)
    if samples < colours or samples - colours != len(directory.fields.get(tags.EXTRA_SAMPLES, ())):
        raise InconsistentHeaderError(f"{samples} samples a pixel do not fit the TIFF colour space")
    if samples > (4 if photometric in (RGB, SEPARATED) else 2 if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) else 3):
        raise UnsupportedError("a TIFF page with further samples")
    if photometric == PALETTE and samples != 1:
        raise UnsupportedError("a TIFF palette with further samples")
    return photometric, samples


def _depth(directory: Directory, samples: int) -> tuple[int, str]:
    bits, code = directory.same(tags.BITS, 1), directory.same(tags.SAMPLE_FORMAT, 1)
    if bits is None or code is None:
        raise UnsupportedError("a TIFF page whose samples differ in type")
    kind = _KINDS.get(code, "")
    if bits not in _WIDTHS.get(kind, ()) or (samples > 1 and bits < 8):
        raise UnsupportedError(f"a TIFF sample type that is not read: {bits} bits")
    return bits, kind


def _planar(directory: Directory, samples: int) -> bool:
    planar = directory.number(tags.PLANAR, 1)
    if planar not in (1, 2):
        raise InconsistentHeaderError("an impossible TIFF planar configuration")
    return planar == 2 and samples > 1


def _tile(directory: Directory, rows: int, columns: int, *, tiled: bool) -> tuple[int, int]:
    if not tiled:
        return min(directory.number(tags.ROWS_PER_STRIP, _WHOLE_STRIP), rows) or rows, columns
    tile_rows, tile_columns = directory.number(tags.TILE_ROWS), directory.number(tags.TILE_COLUMNS)
    if not tile_rows or not tile_columns:
        raise InconsistentHeaderError("TIFF tiles without rows or columns")
    return tile_rows, tile_columns


def _predictor(directory: Directory, compression: int, *, bits: int, kind: str) -> int:
    predictor = directory.number(tags.PREDICTOR, _NO_PREDICTOR)
    if compression not in (LZW, DEFLATE, ZSTD) or predictor == _NO_PREDICTOR:
        return _NO_PREDICTOR
    whole = bits in (8, 16, 32, 64)
    if not whole or predictor not in (_HORIZONTAL, _FLOATING) or (predictor == _FLOATING and kind != "f"):
        raise UnsupportedError("a TIFF predictor that does not fit its samples")
    return predictor


def _palette(directory: Directory, bits: int) -> NDArray[Any]:
    """(entries, 3): bytes where the 16-bit entries are bytes doubled, shifted or small, else as they are."""
    words = np.asarray(directory.fields.get(tags.COLOUR_MAP, ()), dtype=np.uint16)
    if bits > 8:
        raise UnsupportedError("a TIFF palette of more than 8 bits")
    if words.size != 3 << bits:
        raise InconsistentHeaderError("a TIFF palette of the wrong size")
    colours = np.ascontiguousarray(words.reshape(3, -1).T)
    high, low = colours >> 8, colours & 0xFF
    if not high.any():
        return low.astype(np.uint8)
    return high.astype(np.uint8) if not low.any() or np.array_equal(high, low) else colours


def _orientation(directory: Directory) -> int:
    orientation = directory.number(tags.ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _check_codec(page: TiffPage) -> None:
    """Compressions that know only some kinds of samples."""
    if page.compression == CCITT_T6 and (page.bits, page.samples) != (1, 1):
        raise InconsistentHeaderError("fax compression of samples that are no single bits")
    if page.compression in (JPEG, JPEG2000) and (page.kind != "u" or not 8 <= page.bits <= 16):
        raise UnsupportedError("a TIFF sample type that its compression does not hold")
    if page.photometric == YCBCR and (page.compression != JPEG or page.planar):
        raise UnsupportedError("TIFF luminance and chroma without JPEG")
    if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO) and page.kind == "i":
        raise UnsupportedError("TIFF colours with a sign")


def _check_memory(page: TiffPage, limits: ReadLimits) -> None:
    rows, columns, samples = page.shape
    tile = page.tile_rows * page.tile_columns * page.samples * page.dtype.itemsize
    if max(rows * columns * samples * page.frame_dtype.itemsize, tile) > limits.child_bytes:
        raise LimitExceededError("a TIFF page that takes more memory than allowed")


def _check_segments(page: TiffPage, size: int) -> None:
    planes = page.samples if page.planar else 1
    down, across = -(-page.rows // page.tile_rows), -(-page.columns // page.tile_columns)
    expected = down * across * planes
    if len(page.offsets) < expected or len(page.counts) < expected:
        raise InconsistentHeaderError(f"{len(page.offsets)} strips or tiles where the TIFF page needs {expected}")
    offsets, counts = page.offsets[:expected], page.counts[:expected]
    if any(at + count > size for at, count in zip(offsets, counts, strict=True)):
        raise TruncatedError("a strip or tile lies behind the end of the TIFF file")
    if sum(counts) > size:  # else a small file could make one reader copy the same bytes for ever
        raise InconsistentHeaderError("the strips or tiles of a TIFF page share their bytes")
    most = sum(counts) * (1 if page.compression == NONE else _MOST_EXPANSION)
    needed = page.row_bytes(page.columns, page.samples // planes) * page.rows * planes
    if page.compression in _DENSE and most < needed:
        raise InconsistentHeaderError(f"{sum(counts)} bytes of strips or tiles cannot hold the TIFF page")
