"""Mutations of TIFF files, in place so that offsets stay where they are: directories, counts, types, strips, tiles."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.mutants.raw import edge, mutate_bytes

_COMPRESSIONS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34661, 34712, 50000, 65535)
_SIZES = (256, 257, 258, 277, 278, 282, 284, 317, 322, 323, 338, 339)
_LAYOUT = (273, 279, 324, 325, 278, 322, 323)


@dataclass
class Entry:
    """One directory entry: where it lies, its tag, type, count and value as read."""

    at: int
    tag: int
    type: int
    count: int
    value: int


@dataclass
class TiffParts:
    """A classic TIFF file that is changed in place."""

    data: bytearray
    order: str
    directories: list[tuple[int, list[Entry]]]  # offset of the directory, its entries

    def entries(self) -> list[Entry]:
        """All of them."""
        return [entry for _, entries in self.directories for entry in entries]

    def put(self, kind: str, at: int, number: int) -> None:
        """Write a number where it fits."""
        size = struct.calcsize(self.order + kind)
        if at + size <= len(self.data):
            struct.pack_into(self.order + kind, self.data, at, number & ((1 << 8 * size) - 1))

    def set(self, entry: Entry, number: int) -> None:
        """Write an entry's own value, left-justified as its type asks."""
        self.put("H" if entry.type == 3 else "I", entry.at + 8, number)


Change = Callable[[random.Random, TiffParts], None]


def mutate_tiff(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """``data`` after one to three changes of its directories."""
    parts = take_apart(data)
    if parts is None or not parts.entries():
        return mutate_bytes(rng, data)
    changes = [rng.choice(_CHANGES) for _ in range(rng.choice((1, 1, 2, 3)))]
    for change in changes:
        change(rng, parts)
    return bytes(parts.data), "+".join(change.__name__.strip("_") for change in changes)


def take_apart(data: bytes) -> TiffParts | None:
    """The directories of a classic TIFF file; null for anything else."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    parts = TiffParts(bytearray(data), order, [])
    (at,) = struct.unpack_from(order + "I", data, 4)
    while 0 < at < len(data) - 2 and len(parts.directories) < 50:
        (count,) = struct.unpack_from(order + "H", data, at)
        if at + 6 + 12 * count > len(data):
            break
        entries = [
            Entry(place, *struct.unpack_from(order + "HHII", data, place))
            for place in range(at + 2, at + 2 + 12 * count, 12)
        ]
        parts.directories.append((at, entries))
        (at,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    return parts


def _pick(rng: random.Random, parts: TiffParts, tags: tuple[int, ...] | None = None) -> Entry:
    every = parts.entries()
    return rng.choice([entry for entry in every if tags is None or entry.tag in tags] or every)


def _size(rng: random.Random, parts: TiffParts) -> None:
    parts.set(_pick(rng, parts, _SIZES), rng.choice((edge(rng), rng.randint(0, 600), 10_001, 100_000)))


def _compression(rng: random.Random, parts: TiffParts) -> None:
    parts.set(_pick(rng, parts, (259,)), rng.choice(_COMPRESSIONS))


def _photometric(rng: random.Random, parts: TiffParts) -> None:
    parts.set(_pick(rng, parts, (262,)), rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 32803, 65535)))


def _layout(rng: random.Random, parts: TiffParts) -> None:
    """Offsets and byte counts of strips and tiles, in the entry or in the array it points to."""
    entry = _pick(rng, parts, _LAYOUT)
    if entry.count == 1:
        parts.set(entry, rng.choice((edge(rng), len(parts.data), len(parts.data) - 1, 8)))
        return
    width = 2 if entry.type == 3 else 4
    parts.put("H" if width == 2 else "I", entry.value + width * rng.randrange(max(1, entry.count)), edge(rng))


def _count(rng: random.Random, parts: TiffParts) -> None:
    entry = _pick(rng, parts)
    parts.put("I", entry.at + 4, rng.choice((edge(rng), entry.count + 1, entry.count * 2, 0)))


def _type(rng: random.Random, parts: TiffParts) -> None:
    parts.put("H", _pick(rng, parts).at + 2, rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 99, 65535)))


def _tag(rng: random.Random, parts: TiffParts) -> None:
    parts.put(
        "H", _pick(rng, parts).at, rng.choice((*_SIZES, *_LAYOUT, 259, 262, 320, 330, 347, 34665, edge(rng, 65535)))
    )


def _offset(rng: random.Random, parts: TiffParts) -> None:
    parts.put(
        "I", _pick(rng, parts).at + 8, rng.choice((edge(rng), len(parts.data) - 1, rng.randrange(len(parts.data))))
    )


def _loop(rng: random.Random, parts: TiffParts) -> None:
    """The next directory is this one, an earlier one, or anywhere."""
    at, entries = rng.choice(parts.directories)
    target = rng.choice([first for first, _ in parts.directories] + [edge(rng), rng.randrange(len(parts.data)), 8])
    parts.put("I", at + 2 + 12 * len(entries), target)


def _directory_count(rng: random.Random, parts: TiffParts) -> None:
    at, entries = rng.choice(parts.directories)
    parts.put("H", at, rng.choice((0, 1, len(entries) - 1, len(entries) + 1, 4096, 65535)))


def _first(rng: random.Random, parts: TiffParts) -> None:
    parts.put("I", 4, rng.choice((edge(rng), rng.randrange(len(parts.data)), len(parts.data) - 1)))


def _exchange(rng: random.Random, parts: TiffParts) -> None:
    """Two entries change places, so that tags are no longer in order; or one becomes the other's copy."""
    first, second = _pick(rng, parts).at, _pick(rng, parts).at
    one, other = parts.data[first : first + 12], parts.data[second : second + 12]
    parts.data[first : first + 12] = other
    if rng.random() < 0.7:
        parts.data[second : second + 12] = one


def _order(rng: random.Random, parts: TiffParts) -> None:
    """The other byte order, or BigTIFF, or no version."""
    parts.data[:4] = rng.choice((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0\0"))


def _pixels(rng: random.Random, parts: TiffParts) -> None:
    changed, _ = mutate_bytes(rng, bytes(parts.data))
    parts.data[:] = changed


_CHANGES: tuple[Change, ...] = (
    _size, _size, _compression, _photometric, _layout, _layout, _count, _type, _tag, _offset, _loop, _directory_count,
    _first, _exchange, _order, _pixels,
)  # fmt: skip
