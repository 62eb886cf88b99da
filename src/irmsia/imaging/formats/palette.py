"""Palette colour lookup tables (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError
from irmsia.imaging.formats.header import DicomDataset, value_of, values_of

_DESCRIPTOR = 3
_FULL_TABLE = 1 << 16
_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def read_palette(dataset: DicomDataset) -> tuple[NDArray[np.float64], int]:
    """The palette as (entries, 3) scaled to 0..255, and the index its first entry stands for.

    Raises:
        InconsistentHeaderError: no descriptor, no data, or data that do not fit it.
    """
    planes = [_read_plane(dataset, colour) for colour in _COLOURS]
    if len({(len(values), first) for values, first in planes}) != 1:
        raise InconsistentHeaderError("the three palettes differ in size")
    return np.stack([values for values, _ in planes], axis=1), planes[0][1]


def _read_plane(dataset: DicomDataset, colour: str) -> tuple[NDArray[np.float64], int]:
    name = f"{colour}PaletteColorLookupTable"
    try:
        entries, first, bits = (int(value) for value in values_of(dataset, name + "Descriptor"))
    except (TypeError, ValueError):
        raise InconsistentHeaderError("a palette descriptor is missing or broken") from None
    entries = entries % _FULL_TABLE or _FULL_TABLE
    if bits not in (8, 16):
        raise InconsistentHeaderError(f"a palette of {bits} bits")
    data = value_of(dataset, name + "Data")
    if data is None:
        words = _expand_segments(dataset, value_of(dataset, f"Segmented{name}Data"), entries)
    else:
        words = table_entries(dataset, data, entries)
    if words is None:
        raise InconsistentHeaderError("palette data do not fit their descriptor")
    return _to_byte_range(words, bits), first


def table_entries(place: DicomDataset, data: Any, entries: int) -> NDArray[np.uint16] | None:
    """LUT data as ``entries`` words, from words or from bytes of 8 or 16 bits each; None where they do not fit.

    Args:
        place: the data set or item that holds them; it knows its byte order.
        data: the element's value.
        entries: first value of the descriptor.
    """
    if isinstance(data, bytes):
        kind = np.dtype(_byte_order(place) + "u2") if len(data) >= 2 * entries else np.dtype("u1")
        values = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], dtype=kind)
    else:
        try:
            values = np.asarray([data] if isinstance(data, int) else list(data), dtype=np.int64)
        except (TypeError, ValueError, OverflowError):
            return None
    return values[:entries].astype(np.uint16) if len(values) >= entries else None


def _byte_order(place: DicomDataset) -> str:
    return ">" if getattr(place, "original_encoding", (None, True))[1] is False else "<"


def _to_byte_range(words: NDArray[np.uint16], bits: int) -> NDArray[np.float64]:
    """16-bit entries to 0..255; some writers say 16 and store 8 bits, or keep 8-bit values in the high byte."""
    if bits == 8 or int(words.max(initial=0)) <= 0xFF:
        return words.astype(np.float64)
    return words.astype(np.float64) / 257.0


def _expand_segments(place: DicomDataset, data: Any, entries: int) -> NDArray[np.uint16] | None:
    """Undo the segmented form (PS3.3 C.7.9.2): discrete runs, linear ramps, repetitions; at most ``entries`` long."""
    if not isinstance(data, bytes):
        return None
    words = [int(word) for word in np.frombuffer(data[: len(data) // 2 * 2], dtype=_byte_order(place) + "u2")]
    table: list[int] = []
    try:
        _expand(words, table, entries, at=0, segments=len(words), repeats=True)
    except IndexError:
        return None
    return np.asarray(table[:entries], dtype=np.uint16) if len(table) >= entries else None


def _expand(words: list[int], table: list[int], entries: int, *, at: int, segments: int, repeats: bool) -> None:
    while at < len(words) and segments > 0 and len(table) < entries:
        opcode, count, segments = words[at], words[at + 1], segments - 1
        if opcode == _DISCRETE:
            table.extend(words[at + 2 : at + 2 + count])
            at += 2 + count
        elif opcode == _LINEAR and table:
            ramp = np.linspace(table[-1], words[at + 2], count + 1)[1:]
            table.extend(int(value) for value in np.rint(ramp))
            at += 3
        elif opcode == _INDIRECT and repeats:  # a repeated segment may not itself repeat: so that it ends
            back = (words[at + 2] | words[at + 3] << 16) // 2
            _expand(words, table, entries, at=back, segments=count, repeats=False)
            at += 4
        else:
            raise IndexError
