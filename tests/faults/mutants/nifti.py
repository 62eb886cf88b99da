"""Mutations of NIfTI files: sizes, types, offsets, scales and matrices that lie, in the plain file or inside gzip."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable

from tests.faults.mutants.raw import edge, mutate_bytes
from tests.imaging.niftis import FIELDS

_CODES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 3, -1)
_ODD_NUMBERS = (0.0, -0.0, -1.0, 0.5, 1e-38, 1e38, float("nan"), float("inf"), -float("inf"), 352.5, 1e9, 2.0**31)
_PACKED = b"\x1f\x8b"


class NiftiParts:
    """A file that is changed in place; packed again at the end where it was packed."""

    def __init__(self, data: bytes) -> None:
        """`ValueError` where it is no NIfTI file that can be followed."""
        self.packed = data.startswith(_PACKED)
        try:
            self.data = bytearray(zlib.decompressobj(31).decompress(data) if self.packed else data)
        except zlib.error:
            raise ValueError from None
        sizes = (
            {(order, struct.unpack_from(order + "i", self.data)[0]) for order in "<>"} if len(self.data) > 540 else ()
        )
        found = [(order, size) for order, size in sizes if size in (348, 540)]
        if not found:
            raise ValueError
        self.order = found[0][0]
        self.fields = FIELDS[1 if found[0][1] == 348 else 2]

    def put(self, name: str, index: int, value: float) -> None:
        """Write one number of a field, as near as its type can hold it."""
        at, layout = self.fields[name]
        kind = layout[-1]
        size = struct.calcsize("<" + kind)
        if kind in "fd":
            number: float = max(-3e38, min(3e38, value)) if kind == "f" and value == value else value
        else:
            whole = int(value) if abs(value) < 1e19 else 0
            number = whole & ((1 << 8 * size) - 1)
            number -= (number >> (8 * size - 1)) << 8 * size if kind != "B" else 0
        if at + (index + 1) * size <= len(self.data):  # it may have been cut before
            struct.pack_into(self.order + kind, self.data, at + index * size, number)

    def width(self, name: str) -> int:
        """How many numbers a field has."""
        return int(self.fields[name][1][:-1] or 1)

    def whole(self) -> bytes:
        """The file."""
        return gzip.compress(bytes(self.data), 6, mtime=0) if self.packed else bytes(self.data)


Change = Callable[[random.Random, NiftiParts], None]


def mutate_nifti(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """``data`` after one to three changes of its header, or of its bytes where it cannot be followed."""
    try:
        parts = NiftiParts(data)
    except ValueError:
        return mutate_bytes(rng, data)
    changes = [rng.choice(_CHANGES) for _ in range(rng.choice((1, 1, 2, 3)))]
    for change in changes:
        change(rng, parts)
    whole = parts.whole()
    names = "+".join(change.__name__.strip("_") for change in changes)
    if parts.packed and rng.random() < 0.2:
        whole, after = mutate_bytes(rng, whole)
        names = f"{names}+gzip {after}"
    return whole, names


def _dim(rng: random.Random, parts: NiftiParts) -> None:
    wide = (2**31, 2**33, 2**62, -(2**40)) if parts.fields is FIELDS[2] else ()
    sizes = (0, 1, 2, 3, 4, 5, 8, -1, 100, 300, 5000, 32767, -32768, edge(rng, 65535), *wide)
    parts.put("dim", rng.choice((0, 1, 1, 2, 3, 3, 4, 4, 5, 7)), rng.choice(sizes))


def _type(rng: random.Random, parts: NiftiParts) -> None:
    parts.put("datatype", 0, rng.choice(_CODES))
    if rng.random() < 0.6:
        parts.put("bitpix", 0, rng.choice((0, 1, 8, 16, 24, 32, 64, 128, -8, 7)))


def _offset(rng: random.Random, parts: NiftiParts) -> None:
    near = len(parts.data)
    parts.put(
        "vox_offset", 0, rng.choice((0, 1, 348, 351, 352, 353, 540, 544, near - 1, near, near + 1, -1, *_ODD_NUMBERS))
    )


def _number(rng: random.Random, parts: NiftiParts) -> None:
    name = rng.choice(("pixdim", "scl_slope", "scl_inter", "quatern", "qoffset", "srow"))
    parts.put(name, rng.randrange(parts.width(name)), rng.choice((*_ODD_NUMBERS, rng.uniform(-3, 3))))


def _code(rng: random.Random, parts: NiftiParts) -> None:
    name = rng.choice(("qform_code", "sform_code", "xyzt_units"))
    parts.put(name, 0, rng.choice((0, 1, 2, 3, 4, 5, 7, 8, 255, -1, -32768)))


def _magic(rng: random.Random, parts: NiftiParts) -> None:
    at, _ = parts.fields["magic"]
    parts.data[at : at + 4] = rng.choice((b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0", b"\0\0\0\0", b"n+1\1"))


def _order(rng: random.Random, parts: NiftiParts) -> None:
    """Only the first number in the other byte order, or the other version's."""
    struct.pack_into(rng.choice("<>") + "i", parts.data, 0, rng.choice((348, 540, 540, edge(rng, 65535))))


def _cut(rng: random.Random, parts: NiftiParts) -> None:
    del parts.data[rng.randrange(4, len(parts.data)) :]
    parts.data.extend(bytes(max(0, 544 - len(parts.data)) if rng.random() < 0.5 else 0))


def _grow(rng: random.Random, parts: NiftiParts) -> None:
    parts.data.extend(rng.choice((bytes, rng.randbytes))(rng.choice((1, 100, 5000, 3_000_000))))


def _voxels(rng: random.Random, parts: NiftiParts) -> None:
    """Extreme stored values: not a number, infinity, the largest of every type."""
    at = rng.randrange(352, max(353, len(parts.data) - 64))
    piece = rng.choice((b"\xff", b"\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\0\0\0\xf0\x7f")) * 16
    parts.data[at : at + 64] = piece[: len(parts.data[at : at + 64])]


def _pack(rng: random.Random, parts: NiftiParts) -> None:
    parts.packed = not parts.packed


_CHANGES: tuple[Change, ...] = (
    _dim, _dim, _dim, _type, _type, _offset, _offset, _number, _number, _code, _magic, _order, _cut, _grow, _voxels,
    _pack,
)  # fmt: skip
