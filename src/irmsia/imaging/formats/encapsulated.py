"""Fragments to frames (PS3.5 annex A.4): by count, by offset table, else by the start marker of each frame's stream."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError
from irmsia.imaging.formats.elements import PixelElement
from irmsia.imaging.formats.header import DicomDataset, value_of

_ITEM_HEAD = 8
Spans = tuple[tuple[int, int], ...]


def split_frames(
    pixel: PixelElement, dataset: DicomDataset, *, frames: int, data: memoryview, start: bytes
) -> list[Spans]:
    """The fragments of each frame.

    Args:
        pixel: the encapsulated element.
        dataset: may hold an Extended Offset Table.
        frames: what the header says.
        data: the data set's bytes.
        start: what each frame's stream begins with; empty where every fragment is a frame.

    Raises:
        InconsistentHeaderError: the fragments cannot be that number of frames, or an offset points at no fragment.
    """
    spans = pixel.spans
    if len(spans) == frames:
        return [(span,) for span in spans]
    if frames == 1 and spans and start:
        return [spans]
    if len(spans) < frames or not start:
        raise InconsistentHeaderError(f"{len(spans)} fragments for {frames} frames")
    offsets = _extended_offsets(dataset) or pixel.offset_table
    starts = _by_offsets(offsets, pixel) if offsets else _by_start(spans, data, start)
    if len(starts) != frames or starts[0] != 0:
        raise InconsistentHeaderError(f"{len(starts)} frames in the pixel data, the header says {frames}")
    return [spans[first:last] for first, last in zip(starts, [*starts[1:], len(spans)], strict=True)]


def _extended_offsets(dataset: DicomDataset) -> tuple[int, ...]:
    table = value_of(dataset, "ExtendedOffsetTable")
    if not isinstance(table, bytes) or not table:
        return ()
    return struct.unpack_from(f"<{len(table) // 8}Q", table)


def _by_offsets(offsets: tuple[int, ...], pixel: PixelElement) -> list[int]:
    index_of = {at - _ITEM_HEAD - pixel.first_item: index for index, (at, _) in enumerate(pixel.spans)}
    starts = [index_of.get(offset, -1) for offset in offsets]
    if any(start < 0 for start in starts) or any(a >= b for a, b in pairwise(starts)):
        raise InconsistentHeaderError("an offset table points at no fragment")
    return starts


def _by_start(spans: Spans, data: memoryview, start: bytes) -> list[int]:
    return [index for index, (at, _) in enumerate(spans) if bytes(data[at : at + len(start)]) == start]


def iter_encapsulated_frames(
    data: memoryview, frames: list[Spans], decode: Callable[[bytes], NDArray[np.generic]]
) -> Iterator[NDArray[np.generic]]:
    """Join each frame's fragments and decode them, one frame at a time."""
    for spans in frames:
        yield decode(b"".join(data[at : at + length] for at, length in spans))
