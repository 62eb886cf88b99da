"""Mutations that know no format: flipped bits, cuts, doubled pieces, numbers at the edges of their types."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

EDGES = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 32767, 32768, 65534, 65535)
WIDE_EDGES = (*EDGES, 65536, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_NEAR_THE_START = 600

Change = Callable[[random.Random, bytearray], None]


def mutate_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """``data`` after one change that any reader of files meets, and the change's name."""
    changed = bytearray(data)
    change = rng.choice(_CHANGES)
    if changed:
        change(rng, changed)
    return bytes(changed), change.__name__.strip("_")


def splice(rng: random.Random, first: bytes, second: bytes) -> bytes:
    """The start of one file and the end of another."""
    return first[: rng.randint(0, len(first))] + second[rng.randint(0, len(second)) :]


def edge(rng: random.Random, most: int = 0xFFFFFFFF) -> int:
    """A number at the edge of some type, at most ``most``."""
    return rng.choice([number for number in WIDE_EDGES if number <= most])


def _place(rng: random.Random, data: bytearray) -> int:
    """Half of all changes hit the header."""
    size = min(len(data), _NEAR_THE_START) if rng.random() < 0.5 else len(data)
    return rng.randrange(size)


def _flip_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set_bytes(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 2, 16))):
        data[_place(rng, data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))


def _set_number(rng: random.Random, data: bytearray) -> None:
    number = edge(rng)
    packed = struct.pack(rng.choice("<>") + ("H" if number < 65536 and rng.random() < 0.5 else "I"), number)
    at = _place(rng, data)
    data[at : at + len(packed)] = packed


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 8, 100, 4096))]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    data[at:at] = rng.choice((rng.randbytes, bytes))(rng.choice((1, 2, 4, 8, 100, 4096)))


def _repeat(rng: random.Random, data: bytearray) -> None:
    at, size = _place(rng, data), rng.choice((1, 4, 12, 64, 1024))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))


def _exchange(rng: random.Random, data: bytearray) -> None:
    first, second, size = _place(rng, data), _place(rng, data), rng.choice((1, 4, 16, 256))
    piece, other = data[first : first + size], data[second : second + size]
    data[first : first + size], data[second : second + size] = other, piece


def _blank(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    size = min(rng.choice((16, 256, 8192)), len(data) - at)
    data[at : at + size] = bytes([rng.choice((0, 0xFF))]) * size


_CHANGES: tuple[Change, ...] = (
    _flip_bits, _set_bytes, _set_number, _cut, _remove, _insert, _repeat, _exchange, _blank,
)  # fmt: skip
