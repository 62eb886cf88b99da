"""A cheap look at the element structure of a DICOM data set before any library interprets it (PS3.5 chapter 7).

It walks every element head once, without recursion and without copying a value, so that announced lengths and the depth
of nested sequences are known to be sound before pydicom sees them; and it finds where the pixels lie.
"""

from __future__ import annotations

import struct
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from irmsia.errors import InconsistentHeaderError, InputError, LimitExceededError, TruncatedError
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.recognise import EXPLICIT_VRS

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
_PIXEL_TAGS = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_LONG_PLAIN_VRS = _LONG_VRS - {b"SQ", b"UN"}
_SHORT_VRS = EXPLICIT_VRS - _LONG_VRS
_FRAGMENTS_A_FRAME = 64
_QUICK = {int.from_bytes(vr, "little"): 12 if vr in _LONG_VRS else 8 for vr in EXPLICIT_VRS}
"""VRs as explicit little endian heads show them, read as numbers, and how long such a head is."""
_STRUCTURED = frozenset(int.from_bytes(vr, "little") for vr in (b"SQ", b"UN"))
_NUL_PADDING_LOOKED_AT = 1 << 16


@dataclass(frozen=True, slots=True)
class Encoding:
    """How element heads are written."""

    implicit: bool
    little: bool


IMPLICIT = Encoding(implicit=True, little=True)


HeaderElement = tuple[int, bytes, bytes, int]
"""A wanted top-level element: tag, VR (empty where none is written), its bytes, and where in them the value begins.

A bare tuple, since a hundred are made a file.
"""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixels lie: ``spans`` are (offset, length) of the one value, or of all fragments when encapsulated.

    ``offset_table``: the Basic Offset Table's entries, relative to the first fragment's item head at ``first_item``.
    """

    tag: int
    vr: bytes
    encapsulated: bool
    spans: tuple[tuple[int, int], ...]
    offset_table: tuple[int, ...] = ()
    first_item: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """A scanned data set: how it is written, its pixel element if it has one, and the wanted top-level elements.

    ``header``: each wanted element; their bytes together are a valid data set. ``tags``: of all elements.
    ``failure``: why the walk stopped early; what came before it is still good.
    """

    encoding: Encoding
    header: tuple[HeaderElement, ...]
    tags: frozenset[int]
    pixel: PixelElement | None
    failure: InputError | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    tag: int
    vr: bytes
    length: int
    value: int


@dataclass(slots=True)
class _Open:
    """An open sequence or item; ``end`` None while its length is undefined."""

    is_sequence: bool
    end: int | None
    encoding: Encoding


def scan(
    data: memoryview,
    start: int,
    *,
    encoding: Encoding,
    limits: ReadLimits,
    wanted: Set[int] = frozenset(),
    to_pixels: bool = False,
) -> Layout:
    """Walk the data set that begins at ``start`` up to its pixels or its end, and copy the ``wanted`` elements.

    ``to_pixels``: for a look at the header. The fragments of encapsulated pixels are not walked, so the `PixelElement`
    names none; sequences that are not wanted are passed over where their length is known; and `Layout.tags` is filled
    only where no pixels are found.

    The `Layout` carries a failure where the structure is broken: `TruncatedError` where an element announces more bytes
    than the file holds or a sequence stays open, `InconsistentHeaderError` where an element runs past its item,
    `LimitExceededError` where sequences nest deeper than ``limits.nesting`` or there are too many fragments.
    """
    scanner = _Scanner(data, encoding=_peek(data, start, encoding), limits=limits, wanted=wanted, to_pixels=to_pixels)
    return scanner.run(start)


def _peek(data: memoryview, at: int, assumed: Encoding) -> Encoding:
    """The encoding that the first element shows: some writers announce explicit VRs and write none, or the reverse."""
    raw = bytes(data[at + 4 : at + 6])
    if len(raw) < 2:
        return assumed
    return Encoding(implicit=not _is_vr(raw), little=assumed.little)


def _is_vr(raw: bytes) -> bool:
    return 0x41 <= raw[0] <= 0x5A and 0x41 <= raw[1] <= 0x5A


@cache
def _known_sequences() -> frozenset[int]:
    from pydicom._dicom_dict import DicomDictionary

    return frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")


_HEAD_OF_LITTLE = struct.Struct("<IHH").unpack_from
_LENGTH_OF_LITTLE = struct.Struct("<I").unpack_from


def _turn(tag: int) -> int:
    """Group and element the other way round, as four little endian bytes show them."""
    return (tag & 0xFFFF) << 16 | tag >> 16


_TURNED_STOPS = frozenset(map(_turn, _PIXEL_TAGS | {_ITEM, _ITEM_END, _SEQUENCE_END}))


@lru_cache(maxsize=8)
def _turned(wanted: frozenset[int]) -> dict[int, int]:
    """Tags by their turned ones."""
    return {_turn(tag): tag for tag in wanted}


class _Scanner:
    def __init__(
        self,
        data: memoryview,
        *,
        encoding: Encoding,
        limits: ReadLimits,
        wanted: Set[int],
        to_pixels: bool,
    ) -> None:
        self._data = data
        self._size = len(data)
        self._encoding = encoding
        self._limits = limits
        self._open: list[_Open] = []
        self._depth = 0
        self._wanted = wanted
        self._to_pixels = to_pixels
        self._tags: set[int] = set()
        self._passed: list[int] = []  # turned tags
        self._header: list[HeaderElement] = []
        self._begun: tuple[int, _Head] | None = None

    def run(self, start: int) -> Layout:
        try:
            return self._walk(start)
        except InputError as error:
            return replace(self._layout(None), failure=error)

    def _walk(self, at: int) -> Layout:
        while True:
            at = self._close_finished(at)
            if not self._open:
                self._keep(at)
                at = self._plain(at)
                if self._is_finished(at):
                    return self._layout(None)
            if self._open and self._open[-1].is_sequence:
                at = self._item(at)
                continue
            head = self._head(at)
            if not self._open and head.tag in _PIXEL_TAGS:
                return self._layout(self._pixels(head))
            if not self._open:
                self._begin(head, at)
            at = self._element(head)

    def _layout(self, pixel: PixelElement | None) -> Layout:
        if pixel is None:
            self._tags.update(map(_turn, self._passed))
        return Layout(self._encoding, tuple(self._header), frozenset(self._tags), pixel)

    def _plain(self, at: int) -> int:
        """Walk top-level elements without structure, the bulk of every header, in one tight loop.

        It stops before whatever is not plain, and before anything wrong: both are the general walk's to judge.
        """
        if self._encoding.implicit:
            return self._plain_implicit(at)
        if self._to_pixels and self._encoding.little:
            return self._pass_over(at)
        data, size, wanted, tags, keep = self._data, self._size, self._wanted, self._tags, self._header.append
        order = "<" if self._encoding.little else ">"
        head, longer = struct.Struct(order + "HH2sH").unpack_from, struct.Struct(order + "I").unpack_from
        while at + 12 <= size:
            group, element, vr, length = head(data, at)
            value = at + 8
            if vr in _LONG_PLAIN_VRS:
                (length,), value = longer(data, value), at + 12
            elif vr not in _SHORT_VRS:
                break
            tag, end = group << 16 | element, value + length
            if end > size or group == 0xFFFE or tag in _PIXEL_TAGS:
                break
            tags.add(tag)
            if tag in wanted:
                keep((tag, vr, bytes(data[at:end]), value - at))
            at = end
        return at

    def _pass_over(self, at: int) -> int:
        """As `_plain`, faster, in explicit little endian: tag and VR as numbers, sequences passed over."""
        data, size, keep, passed = self._data, self._size, self._header.append, self._passed.append
        wanted, kinds = _turned(frozenset(self._wanted)), _QUICK
        head, longer = _HEAD_OF_LITTLE, _LENGTH_OF_LITTLE
        while at + 12 <= size:
            tag, vr, length = head(data, at)
            start = kinds.get(vr)
            if start == 12:
                (length,) = longer(data, at + 8)
            elif start is None:
                break
            value = at + start
            end = value + length
            if end > size or tag in _TURNED_STOPS:
                break
            if tag in wanted:
                if vr in _STRUCTURED:
                    break
                keep((wanted[tag], vr.to_bytes(2, "little"), bytes(data[at:end]), start))
            passed(tag)
            at = end
        return at

    def _plain_implicit(self, at: int) -> int:
        data, size, wanted, tags, keep = self._data, self._size, self._wanted, self._tags, self._header.append
        head, sequences = struct.Struct(("<" if self._encoding.little else ">") + "HHI").unpack_from, _known_sequences()
        while at + 12 <= size:
            group, element, length = head(data, at)
            tag, end = group << 16 | element, at + 8 + length
            if end > size or group in (0, 0xFFFE) or tag in _PIXEL_TAGS or tag in sequences:
                break
            tags.add(tag)
            if tag in wanted:
                keep((tag, b"", bytes(data[at:end]), 8))
            at = end
        return at

    def _begin(self, head: _Head, at: int) -> None:
        self._tags.add(head.tag)
        self._begun = (at, head) if head.tag in self._wanted else None

    def _keep(self, end: int) -> None:
        """Copy the top-level element that ended, if it was wanted."""
        if self._begun is not None:
            at, head = self._begun
            self._header.append((head.tag, head.vr, bytes(self._data[at:end]), head.value - at))
            self._begun = None

    def _close_finished(self, at: int) -> int:
        while self._open:
            end = self._open[-1].end
            if end is None or at < end:
                break
            if at > end:
                raise InconsistentHeaderError("an element runs past the end of the item that holds it")
            self._pop()
        return at

    def _is_finished(self, at: int) -> bool:
        """At the end, or at a tail of zero bytes that some writers leave."""
        rest = self._size - at
        if rest <= 0:
            return True
        tail = self._data[at : at + _NUL_PADDING_LOOKED_AT]
        return self._data[at] == 0 and rest <= _NUL_PADDING_LOOKED_AT and not any(tail)

    def _push(self, is_sequence: bool, end: int | None, encoding: Encoding) -> None:
        if is_sequence:
            self._depth += 1
            if self._depth > self._limits.nesting:
                raise LimitExceededError(f"sequences nested deeper than {self._limits.nesting}")
        self._open.append(_Open(is_sequence, end, encoding))

    def _pop(self) -> None:
        if self._open.pop().is_sequence:
            self._depth -= 1

    def _current(self) -> Encoding:
        return self._open[-1].encoding if self._open else self._encoding

    def _head(self, at: int) -> _Head:
        encoding = self._current()
        order = "<" if encoding.little else ">"
        if at + 8 > self._size:
            raise TruncatedError("the file ends inside a DICOM element")
        group, element = struct.unpack_from(order + "HH", self._data, at)
        tag = group << 16 | element
        raw = bytes(self._data[at + 4 : at + 6])
        if encoding.implicit or group == 0xFFFE or not _is_vr(raw):
            return _Head(tag, b"", struct.unpack_from(order + "I", self._data, at + 4)[0], at + 8)
        if raw not in _LONG_VRS:
            return _Head(tag, raw, struct.unpack_from(order + "H", self._data, at + 6)[0], at + 8)
        if at + 12 > self._size:
            raise TruncatedError("the file ends inside a DICOM element")
        return _Head(tag, raw, struct.unpack_from(order + "I", self._data, at + 8)[0], at + 12)

    def _end_of(self, head: _Head) -> int:
        """Offset behind the value, known to lie within the file and within the innermost item of known length."""
        end = head.value + head.length
        if end > self._size:
            raise TruncatedError("a DICOM element announces more bytes than the file holds")
        return end

    def _item(self, at: int) -> int:
        head = self._head(at)
        encoding = self._current()
        if head.tag == _SEQUENCE_END:
            self._pop()
            return head.value
        if head.tag != _ITEM:
            raise InconsistentHeaderError("a DICOM sequence holds something that is no item")
        inner = _peek_item(self._data, head, encoding)
        self._push(False, None if head.length == UNDEFINED else self._end_of(head), inner)
        return head.value

    def _element(self, head: _Head) -> int:
        if head.tag == _ITEM_END:
            if not self._open or self._open[-1].end is not None:
                raise InconsistentHeaderError("a DICOM item ends that never began")
            self._pop()
            return head.value
        if head.tag >> 16 == 0xFFFE:
            raise InconsistentHeaderError("a DICOM item or delimiter outside a sequence")
        if head.length == UNDEFINED:
            return self._undefined(head)
        end = self._end_of(head)
        if head.length and self._is_sequence(head):
            self._push(True, end, self._inner(head))
            return head.value
        return end

    def _is_sequence(self, head: _Head) -> bool:
        return head.vr == b"SQ" or (head.vr in (b"", b"UN") and head.tag in _known_sequences())

    def _inner(self, head: _Head) -> Encoding:
        """The items of a sequence written as UN are implicit VR little endian (PS3.5 section 6.2.2)."""
        return IMPLICIT if head.vr == b"UN" else self._current()

    def _undefined(self, head: _Head) -> int:
        if head.vr in (b"", b"SQ", b"UN"):
            self._push(True, None, self._inner(head))
            return head.value
        spans, end = self._fragments(head.value)
        del spans
        return end

    def _pixels(self, head: _Head) -> PixelElement:
        if head.length != UNDEFINED:
            self._end_of(head)
            return PixelElement(head.tag, head.vr, False, ((head.value, head.length),))
        if self._to_pixels:
            return PixelElement(head.tag, head.vr, True, ())
        spans, _ = self._fragments(head.value)
        if not spans:
            raise InconsistentHeaderError("encapsulated pixel data without an offset table item")
        at, length = spans[0]
        order = "<" if self._encoding.little else ">"
        table = struct.unpack_from(f"{order}{length // 4}I", self._data, at)
        return PixelElement(head.tag, head.vr, True, tuple(spans[1:]), table, at + length)

    def _fragments(self, at: int) -> tuple[list[tuple[int, int]], int]:
        """All items up to the sequence delimiter, which must be there: else the file was cut."""
        order = "<" if self._encoding.little else ">"
        head = struct.Struct(order + "HHI")
        spans: list[tuple[int, int]] = []
        while True:
            if at + 8 > self._size:
                raise TruncatedError("the file ends inside encapsulated pixel data")
            group, element, length = head.unpack_from(self._data, at)
            tag, at = group << 16 | element, at + 8
            if tag == _SEQUENCE_END:
                return spans, at
            if tag != _ITEM or length == UNDEFINED:
                raise InconsistentHeaderError("encapsulated data holds something that is no fragment")
            if at + length > self._size:
                raise TruncatedError("a fragment announces more bytes than the file holds")
            spans.append((at, length))
            at += length
            if len(spans) > self._limits.frames * _FRAGMENTS_A_FRAME:
                raise LimitExceededError("more fragments than the limit on frames allows")


def _peek_item(data: memoryview, head: _Head, encoding: Encoding) -> Encoding:
    """The encoding of an item's first element; some writers mix both within one file."""
    if head.length == 0 or head.value + 8 > len(data):
        return encoding
    order = "<" if encoding.little else ">"
    group, _, implicit_length = struct.unpack_from(order + "HHI", data, head.value)
    if group == 0xFFFE:
        return encoding
    if not encoding.implicit:
        return _peek(data, head.value, encoding)
    has_vr = bytes(data[head.value + 4 : head.value + 6]) in EXPLICIT_VRS
    fits = head.value + 8 + implicit_length <= len(data)
    return Encoding(implicit=not has_vr or fits, little=encoding.little)
