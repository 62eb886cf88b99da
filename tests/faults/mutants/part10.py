"""A DICOM file taken apart into elements that can be changed one by one and written again with forged parts.

It reads only well-formed seeds; what cannot be taken apart is left to the byte mutations.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 40


class NotTakenApartError(Exception):
    """The seed is itself broken, or of a shape this parser does not know."""


@dataclass
class Element:
    """One element. ``items``: of a sequence; ``fragments``: of encapsulated pixel data; else ``value``.

    ``length`` and ``tail`` are forgeries: what is written instead of the true length, and whether undefined lengths get
    their delimiter.
    """

    tag: int
    vr: bytes
    value: bytes = b""
    items: list[list[Element]] | None = None
    fragments: list[bytes] | None = None
    undefined: bool = False
    length: int | None = None
    tail: bool = True


@dataclass
class DicomParts:
    """Preamble, file meta elements and data set of one file."""

    preamble: bytes
    magic: bytes
    meta: list[Element]
    dataset: list[Element]
    syntax: str
    deflated_tail: bytes = b""
    reencode: bool = True
    deflate_damage: list[tuple[int, int]] = field(default_factory=list)

    @property
    def explicit(self) -> bool:
        """Whether the data set is written with VRs."""
        return self.syntax != IMPLICIT

    @property
    def order(self) -> str:
        """The `struct` sign of its byte order."""
        return ">" if self.syntax == BIG_ENDIAN else "<"


def take_apart(data: bytes) -> DicomParts:
    """The parts of a DICOM file with preamble.

    Raises:
        NotTakenApartError: it has none, or its elements cannot be followed.
    """
    if data[128:132] != b"DICM":
        raise NotTakenApartError
    try:
        meta, at = _read_meta(data)
        syntax = next((_text(part.value) for part in meta if part.tag == 0x00020010), IMPLICIT)
        body = zlib.decompress(data[at:], -15) if syntax == DEFLATED else data[at:]
        reader = _Reader(body, ">" if syntax == BIG_ENDIAN else "<", explicit=syntax != IMPLICIT)
        dataset, end = reader.elements(0, len(body), 0)
    except (struct.error, IndexError, zlib.error, UnicodeDecodeError):
        raise NotTakenApartError from None
    if end != len(body) or not dataset:
        raise NotTakenApartError
    return DicomParts(data[:128], b"DICM", meta, dataset, syntax)


def put_together(parts: DicomParts) -> bytes:
    """The file of these parts."""
    meta = _write(parts.meta, "<", explicit=True)
    body = _write(parts.dataset, parts.order, explicit=parts.explicit)
    if parts.syntax == DEFLATED and parts.reencode:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = bytearray(packer.compress(body) + packer.flush())
        for at, number in parts.deflate_damage:
            packed[at % len(packed)] = number
        body = bytes(packed) + parts.deflated_tail
    return parts.preamble + parts.magic + meta + body


def every_list(elements: list[Element]) -> list[list[Element]]:
    """The data set and every item of every sequence in it."""
    found = [elements]
    for element in elements:
        for item in element.items or ():
            found.extend(every_list(item))
    return found


def nest(innermost: Element, tags: list[int], parts: DicomParts, *, undefined: bool) -> Element:
    """``innermost`` within one sequence a tag, written as ``parts`` is now; without recursion, so as deep as wanted."""
    body = _write_element(innermost, parts.order, explicit=parts.explicit)
    for tag in tags[:-1]:
        body = _write_element(_around(tag, body, parts, undefined=undefined), parts.order, explicit=parts.explicit)
    return _around(tags[-1], body, parts, undefined=undefined)


def _around(tag: int, body: bytes, parts: DicomParts, *, undefined: bool) -> Element:
    end = _tagged(parts.order, _ITEM_END, 0) if undefined else b""
    start = _tagged(parts.order, _ITEM, UNDEFINED if undefined else len(body))
    return Element(tag, b"SQ", start + body + end, undefined=undefined)


def _read_meta(data: bytes) -> tuple[list[Element], int]:
    reader = _Reader(data, "<", explicit=True)
    meta, at = [], 132
    while at + 8 <= len(data) and data[at : at + 2] == b"\x02\0":
        element, at = reader.element(at, 0)
        meta.append(element)
    return meta, at


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii")


class _Reader:
    def __init__(self, data: bytes, order: str, *, explicit: bool) -> None:
        self._data = data
        self._order = order
        self._explicit = explicit

    def elements(self, at: int, end: int, depth: int) -> tuple[list[Element], int]:
        found = []
        while at + 8 <= end and self._tag(at) not in (_ITEM_END, _SEQUENCE_END):
            element, at = self.element(at, depth)
            found.append(element)
        return found, at

    def element(self, at: int, depth: int) -> tuple[Element, int]:
        tag = self._tag(at)
        vr, length, at = self._head(at)
        if depth > _DEEPEST:
            raise NotTakenApartError
        if tag == PIXEL_DATA and length == UNDEFINED:
            fragments, at = self._fragments(at)
            return Element(tag, vr, fragments=fragments, undefined=True), at
        if vr == b"SQ" or length == UNDEFINED:
            items, at = self._items(at, len(self._data) if length == UNDEFINED else at + length, depth)
            return Element(tag, vr, items=items, undefined=length == UNDEFINED), at
        if at + length > len(self._data):
            raise NotTakenApartError
        return Element(tag, vr, self._data[at : at + length]), at + length

    def _tag(self, at: int) -> int:
        group, element = struct.unpack_from(self._order + "HH", self._data, at)
        return int(group << 16 | element)

    def _head(self, at: int) -> tuple[bytes, int, int]:
        if not self._explicit:
            (length,) = struct.unpack_from(self._order + "I", self._data, at + 4)
            return b"", length, at + 8
        vr = self._data[at + 4 : at + 6]
        if not vr.isalpha() or not vr.isupper():
            raise NotTakenApartError
        if vr in LONG_VRS:
            (length,) = struct.unpack_from(self._order + "I", self._data, at + 8)
            return vr, length, at + 12
        (length,) = struct.unpack_from(self._order + "H", self._data, at + 6)
        return vr, length, at + 8

    def _fragments(self, at: int) -> tuple[list[bytes], int]:
        found = []
        while True:
            tag, (length,) = self._tag(at), struct.unpack_from(self._order + "I", self._data, at + 4)
            at += 8
            if tag == _SEQUENCE_END:
                return found, at
            if tag != _ITEM or at + length > len(self._data):
                raise NotTakenApartError
            found.append(self._data[at : at + length])
            at += length

    def _items(self, at: int, end: int, depth: int) -> tuple[list[list[Element]], int]:
        items = []
        while at < end:
            tag, (length,) = self._tag(at), struct.unpack_from(self._order + "I", self._data, at + 4)
            at += 8
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise NotTakenApartError
            item, at = self.elements(at, len(self._data) if length == UNDEFINED else at + length, depth + 1)
            at += 8 if length == UNDEFINED else 0
            items.append(item)
        return items, at


def _write(elements: list[Element], order: str, *, explicit: bool) -> bytes:
    return b"".join(_write_element(element, order, explicit=explicit) for element in elements)


def _write_element(element: Element, order: str, *, explicit: bool) -> bytes:
    body = _body(element, order, explicit=explicit)
    undefined = element.undefined
    end = _tagged(order, _SEQUENCE_END, 0) if undefined and element.tail else b""
    length = UNDEFINED if undefined else len(body)
    return _element_head(element, length, order, explicit=explicit) + body + end


def _body(element: Element, order: str, *, explicit: bool) -> bytes:
    if element.fragments is not None:
        return b"".join(_tagged(order, _ITEM, len(part)) + part for part in element.fragments)
    if element.items is None:
        return element.value
    parts = []
    for item in element.items:
        content = _write(item, order, explicit=explicit)
        if element.undefined:
            parts += [_tagged(order, _ITEM, UNDEFINED), content, _tagged(order, _ITEM_END, 0)]
        else:
            parts += [_tagged(order, _ITEM, len(content)), content]
    return b"".join(parts)


def _element_head(element: Element, length: int, order: str, *, explicit: bool) -> bytes:
    length = length if element.length is None else element.length
    tag = struct.pack(order + "HH", element.tag >> 16, element.tag & 0xFFFF)
    if not explicit:
        return tag + struct.pack(order + "I", length & 0xFFFFFFFF)
    vr = element.vr or b"UN"
    if vr in LONG_VRS:
        return tag + vr + b"\0\0" + struct.pack(order + "I", length & 0xFFFFFFFF)
    return tag + vr + struct.pack(order + "H", length & 0xFFFF)


def _tagged(order: str, tag: int, length: int) -> bytes:
    return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)
