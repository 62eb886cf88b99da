"""TIFF image file directories (TIFF 6.0 section 2, BigTIFF): a bounded walk that reads the few fields pixels need."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from irmsia.errors import InconsistentHeaderError, LimitExceededError, TruncatedError
from irmsia.imaging.limits import ReadLimits

NEW_SUBFILE_TYPE, COLUMNS, ROWS, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 273, 274, 277, 278, 279, 284
T6_OPTIONS, PREDICTOR, COLOUR_MAP, TILE_COLUMNS, TILE_ROWS, TILE_OFFSETS, TILE_BYTES = 293, 317, 320, 322, 323, 324, 325
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 332, 338, 339, 347
_WANTED = frozenset(
    {NEW_SUBFILE_TYPE, COLUMNS, ROWS, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES,
     ROWS_PER_STRIP, STRIP_BYTES, PLANAR, T6_OPTIONS, PREDICTOR, COLOUR_MAP, TILE_COLUMNS, TILE_ROWS, TILE_OFFSETS,
     TILE_BYTES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES}
)  # fmt: skip
_CODES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}  # unsigned integers; no wanted field has another type
_MOST_VALUES = 1 << 18
_MOST_ENTRIES = 1 << 12


@dataclass(frozen=True, slots=True)
class Directory:
    """The wanted fields of one directory, values as integers in file order."""

    little: bool
    fields: dict[int, tuple[int, ...]]

    def number(self, tag: int, default: int | None = None) -> int:
        """The first value of a field.

        Raises:
            InconsistentHeaderError: it is missing and has no default.
        """
        values = self.fields.get(tag)
        if values:
            return values[0]
        if default is None:
            raise InconsistentHeaderError(f"TIFF field {tag} is missing")
        return default

    def same(self, tag: int, default: int) -> int | None:
        """The value that all entries of a field have; None where they differ."""
        values = set(self.fields.get(tag) or (default,))
        return values.pop() if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class _Form:
    """How offsets are written: ``count`` of entries, ``size`` of one, where the value lies in it."""

    order: str
    offset: str
    count: str
    entry: int

    @property
    def inline(self) -> int:
        return struct.calcsize(self.order + self.offset)


def read_directories(data: memoryview, limits: ReadLimits) -> tuple[Directory, ...]:
    """All directories in the file's order.

    Raises:
        TruncatedError: a directory or the values of a wanted field lie behind the end of the file.
        InconsistentHeaderError: no directory, a chain that runs in a circle, a field of an impossible type.
        LimitExceededError: more pages, strips or tiles than allowed.
    """
    form, at = _read_head(data)
    found: list[Directory] = []
    seen: set[int] = set()
    while at:
        if at in seen:
            raise InconsistentHeaderError("the TIFF directories run in a circle")
        if len(found) >= limits.frames:
            raise LimitExceededError(f"more than {limits.frames} pages")
        seen.add(at)
        directory, at = _read_directory(data, at, form)
        found.append(directory)
    if not found:
        raise InconsistentHeaderError("a TIFF file without a directory")
    return tuple(found)


def _read_head(data: memoryview) -> tuple[_Form, int]:
    order = "<" if bytes(data[:2]) == b"II" else ">"
    (version,) = _unpack(data, 2, order + "H")
    if version == 43:
        size, zero, first = _unpack(data, 4, order + "HHQ")
        if (size, zero) != (8, 0):
            raise InconsistentHeaderError("a BigTIFF header with strange offsets")
        return _Form(order, "Q", "Q", 20), int(first)
    (first,) = _unpack(data, 4, order + "I")
    return _Form(order, "I", "H", 12), int(first)


def _read_directory(data: memoryview, at: int, form: _Form) -> tuple[Directory, int]:
    (entries,) = _unpack(data, at, form.order + form.count)
    if entries > _MOST_ENTRIES:
        raise InconsistentHeaderError(f"a TIFF directory of {entries} fields")
    at += struct.calcsize(form.order + form.count)
    fields: dict[int, tuple[int, ...]] = {}
    for place in range(at, at + entries * form.entry, form.entry):
        tag, kind, count = _unpack(data, place, form.order + "HH" + form.offset)
        if tag in _WANTED:
            fields.setdefault(tag, _read_values(data, place + form.entry - form.inline, form, kind=kind, count=count))
    (following,) = _unpack(data, at + entries * form.entry, form.order + form.offset)
    return Directory(form.order == "<", fields), int(following)


def _read_values(data: memoryview, at: int, form: _Form, *, kind: int, count: int) -> tuple[int, ...]:
    code = _CODES.get(kind)
    if code is None:
        raise InconsistentHeaderError("a TIFF field of an impossible type")
    if count > _MOST_VALUES:
        raise LimitExceededError(f"a TIFF field of {count} values")
    layout = f"{form.order}{count}{code}"
    if struct.calcsize(layout) > form.inline:
        (at,) = _unpack(data, at, form.order + form.offset)
    return _unpack(data, at, layout)


def _unpack(data: memoryview, at: int, layout: str) -> tuple[Any, ...]:
    if at + struct.calcsize(layout) > len(data):
        raise TruncatedError("the TIFF file ends inside a directory or its values")
    return struct.unpack_from(layout, data, at)
