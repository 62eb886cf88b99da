"""TIFF files: every page is a frame; directories are checked here before a codec of imagecodecs sees a strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import UnsupportedError
from irmsia.imaging.formats.source import Draft, Source
from irmsia.imaging.formats.tiff_directory import read_directories
from irmsia.imaging.formats.tiff_page import JPEG, SEPARATED, WHITE_IS_ZERO, TiffPage, is_page, read_page
from irmsia.imaging.formats.tiff_segments import CODEC_NAMES, decode_segment
from irmsia.imaging.limits import ReadLimits

_PHOTOMETRIC = {1: "GREY", 2: "GREY_ALPHA", 3: "RGB", 4: "RGBA"}
_TO_BYTE = {2: 85, 4: 17}  # few bits become bytes as in PNG: the largest value is 255


def open_tiff(data: memoryview, *, limits: ReadLimits, draft: Draft) -> Source:
    """Check all pages of a TIFF or BigTIFF file and give them as frames.

    White-is-zero greys stay as stored and are inverted when looked at; the orientation is told, not applied.

    Raises:
        TruncatedError, InconsistentHeaderError, UnsupportedError, LimitExceededError: see `read_page`.
    """
    directories = read_directories(data, limits)
    pages = [read_page(directory, len(data), limits) for directory in directories if is_page(directory)]
    if not pages:
        pages = [read_page(directories[0], len(data), limits)]
    elif len(pages) < len(directories):
        draft.warn("PAGES_LEFT_OUT", "reduced copies and masks of pages are left out")
    first = pages[0]
    if any(page.look != first.look for page in pages):
        raise UnsupportedError("TIFF pages that differ in size or type")
    codecs = sorted({CODEC_NAMES[page.compression] for page in pages if page.compression in CODEC_NAMES})
    draft.learn(
        shape=(len(pages), *first.shape),
        dtype=first.frame_dtype.name,
        lossless=all(page.compression != JPEG for page in pages),
        decoder=" ".join([f"imagecodecs {imagecodecs.__version__}", *codecs]) if codecs else "irmsia tiff",
    )
    _learn_look(first, draft)
    return Source(len(pages), _frames(data, pages, draft))


def _learn_look(page: TiffPage, draft: Draft) -> None:
    samples = page.shape[2]
    stored = 8 if page.bits in _TO_BYTE else page.bits
    draft.look(
        photometric="CMYK" if page.photometric == SEPARATED else _PHOTOMETRIC[samples],
        bits_stored=stored if page.palette is None else 8 * page.palette.dtype.itemsize,
        signed=page.kind == "i",
        inverted=page.photometric == WHITE_IS_ZERO,
        exif_orientation=page.orientation,
    )


def _frames(data: memoryview, pages: list[TiffPage], draft: Draft) -> Iterator[NDArray[np.generic]]:
    for page in pages:
        stored = _assemble(data, page, draft)
        if page.palette is not None:
            stored = np.take(page.palette, stored[..., 0], axis=0)
        elif page.bits in _TO_BYTE:
            stored *= np.uint8(_TO_BYTE[page.bits])
        yield stored


def _assemble(data: memoryview, page: TiffPage, draft: Draft) -> NDArray[Any]:
    """Strips or tiles put together; what tiles hold beyond the picture is cut off."""
    frame: NDArray[Any] | None = None
    planes = page.samples if page.planar else 1
    wide = page.samples // planes
    places = (
        (plane, row, column)
        for plane in range(planes)
        for row in range(0, page.rows, page.tile_rows)
        for column in range(0, page.columns, page.tile_columns)
    )
    for (plane, row, column), at, count in zip(places, page.offsets, page.counts, strict=False):
        rows = page.tile_rows if page.tiled else min(page.tile_rows, page.rows - row)
        segment = decode_segment(page, bytes(data[at : at + count]), (rows, page.tile_columns, wide), draft)
        if frame is None:  # allocated once a first segment was good
            frame = np.empty((page.rows, page.columns, page.samples), page.dtype)
        place = frame[row : row + rows, column : column + page.tile_columns, plane : plane + wide]
        place[:] = segment[: place.shape[0], : place.shape[1]]
    if frame is None:
        raise UnsupportedError("a TIFF page without strips or tiles")
    return frame
