"""The private CSA header of Siemens MR images, as far as mosaics need it: how many tiles, and which way they stack.

The layout is published by nobody; it is the one that nibabel's documentation describes. Numbers are little-endian
whatever the file is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from irmsia.errors import InconsistentHeaderError
from irmsia.imaging.formats.elements import HeaderElement

CREATORS = tuple(range(0x00290010, 0x00290020))
VALUES = tuple(range(0x00291010, 0x00292010, 0x100))
"""Image header info of each block that may be reserved in group 0029."""

_CREATOR = b"SIEMENS CSA HEADER"
_NEW = b"SV10"
_MOST_TAGS = 1024
_TAG = struct.Struct("<64si4sii4x")
_ITEM = struct.Struct("<4i")
_MOST_TILES = 1024
_COUNT, _NORMAL = b"NumberOfImagesInMosaic", b"SliceNormalVector"


@dataclass(frozen=True, slots=True)
class MosaicHeader:
    """``tiles``: slices of one mosaic. ``normal``: unit vector (LPS+) along which they follow each other."""

    tiles: int
    normal: tuple[float, float, float]


def read_mosaic_header(elements: tuple[HeaderElement, ...]) -> MosaicHeader:
    """What the CSA image header says of a mosaic.

    Args:
        elements: the wanted elements of the file, `CREATORS` and `VALUES` among them.

    Raises:
        InconsistentHeaderError: there is none, it is broken, or it lacks one of the two.
    """
    held = {tag: whole[at:] for tag, _, whole, at in elements}
    blocks = (tag for tag in CREATORS if held.get(tag, b"").strip(b" \0") == _CREATOR)
    raw = next((held[value] for tag in blocks if (value := _value_of(tag)) in held), None)
    if raw is None:
        raise InconsistentHeaderError("a Siemens mosaic without the CSA header that says how it is tiled")
    tags = dict(_tags(raw))
    tiles = _numbers(tags.get(_COUNT, []))
    normal = _numbers(tags.get(_NORMAL, []))
    if len(tiles) != 1 or not 1 <= tiles[0] <= _MOST_TILES or tiles[0] != int(tiles[0]):
        raise InconsistentHeaderError("the CSA header gives no number of tiles of the mosaic")
    length = math.sqrt(sum(part * part for part in normal))
    if len(normal) != 3 or not 0.9 <= length <= 1.1:
        raise InconsistentHeaderError("the CSA header gives no slice normal of the mosaic")
    return MosaicHeader(int(tiles[0]), (normal[0] / length, normal[1] / length, normal[2] / length))


def _value_of(creator: int) -> int:
    """The element 10 of the block that ``creator`` reserves (PS3.5 section 7.8.1)."""
    return creator & 0xFFFF0000 | (creator & 0xFF) << 8 | 0x10


def _tags(raw: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    """Name and items of each tag; every one takes bytes, so that the loop ends with them."""
    is_new = raw[:4] == _NEW
    at = 8 if is_new else 0
    try:
        (count,) = struct.unpack_from("<I", raw, at)
        if not 1 <= count <= _MOST_TAGS:
            raise InconsistentHeaderError("the CSA header is broken")
        at += 8
        first_count: int | None = None
        for _ in range(count):
            name, _, _, _, items = _TAG.unpack_from(raw, at)
            at += _TAG.size
            first_count = items if first_count is None else first_count
            values = []
            for _ in range(items):
                value, at = _item(raw, at, 0 if is_new else first_count, is_new=is_new)
                values.append(value)
            yield name.split(b"\0", 1)[0], values
    except struct.error:
        raise InconsistentHeaderError("the CSA header is broken") from None


def _item(raw: bytes, at: int, more: int, *, is_new: bool) -> tuple[bytes, int]:
    """One value, padded to words of four bytes; the old layout adds the first tag's count to its length."""
    first, second, _, _ = _ITEM.unpack_from(raw, at)
    length = second if is_new else first - more
    at += _ITEM.size
    if length < 0 or at + length > len(raw):
        raise InconsistentHeaderError("the CSA header is broken")
    return raw[at : at + length], at + (length + 3) // 4 * 4


def _numbers(items: list[bytes]) -> list[float]:
    """The items that hold one, as far as they are finite."""
    numbers = []
    for item in items:
        text = item.split(b"\0", 1)[0].strip()
        try:
            number = float(text) if text else math.nan
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            numbers.append(number)
    return numbers
