"""Mutations of PNG files: chunks in another order, of another length, with other checksums, headers, palettes."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.mutants.raw import edge, mutate_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
    b"eXIf",
    b"iCCP",
    b"gAMA",
    b"acTL",
    b"fdAT",
    b"zTXt",
    b"\0\0\0\0",
)


@dataclass
class Chunk:
    """One chunk; ``length`` and ``checksum`` are forgeries."""

    kind: bytes
    body: bytes
    length: int | None = None
    checksum: int | None = None


Change = Callable[[random.Random, list[Chunk]], None]


def mutate_png(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """``data`` after one to three changes of its chunks."""
    chunks = take_apart(data)
    if not chunks:
        return mutate_bytes(rng, data)
    changes = [rng.choice(_CHANGES) for _ in range(rng.choice((1, 1, 2, 3)))]
    for change in changes:
        change(rng, chunks)
    return put_together(chunks), "+".join(change.__name__.strip("_") for change in changes)


def take_apart(data: bytes) -> list[Chunk]:
    """The whole chunks of a file, as far as they go."""
    chunks, at = [], len(SIGNATURE)
    while data.startswith(SIGNATURE) and at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks.append(Chunk(kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def put_together(chunks: list[Chunk]) -> bytes:
    """The file of these chunks, checksums made anew but for the forged ones."""
    parts = [SIGNATURE]
    for chunk in chunks:
        checksum = zlib.crc32(chunk.body, zlib.crc32(chunk.kind)) if chunk.checksum is None else chunk.checksum
        length = len(chunk.body) if chunk.length is None else chunk.length
        parts += [struct.pack(">I", length & 0xFFFFFFFF), chunk.kind, chunk.body, struct.pack(">I", checksum)]
    return b"".join(parts)


def _header(rng: random.Random, chunks: list[Chunk]) -> None:
    """Another size, depth, colour, method or interlacing, under a right checksum."""
    body = bytearray(chunks[0].body.ljust(13, b"\0"))
    for _ in range(rng.choice((1, 1, 2))):
        field = rng.randrange(7)
        if field < 2:
            struct.pack_into(">I", body, 4 * field, rng.choice((edge(rng), rng.randint(1, 600), 10_000, 100_000)))
        else:
            body[6 + field] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 255))
    chunks[0].body = bytes(body)


def _bomb(rng: random.Random, chunks: list[Chunk]) -> None:
    """A header that says far more pixels than the file has bytes, and a stream that holds all of them or not so many.

    A whole picture at the limit of 100 megapixels is no mutant: what that costs is bounded by the limits of a child.
    """
    side = rng.choice((1000, 4000, 9999, 10_000, 10_001, 30_000))
    depth, colour, width = rng.choice(((1, 0, side // 8), (8, 0, side), (8, 2, 3 * side), (16, 6, 8 * side)))
    rows = min(side, (24 << 20) // (width + 1), 24_000_000 // side)
    stream = zlib.compress(bytes((width + 1) * rows), 1)
    chunks[:] = [
        Chunk(b"IHDR", struct.pack(">IIBBBBB", side, rng.choice((rows, side)), depth, colour, 0, 0, rng.randrange(2))),
        Chunk(b"IDAT", stream),
        Chunk(b"IEND", b""),
    ]


def _stream(rng: random.Random, chunks: list[Chunk]) -> None:
    """The inflated rows or the deflated stream changed."""
    at = [index for index, chunk in enumerate(chunks) if chunk.kind == b"IDAT"]
    if not at:
        return
    packed = b"".join(chunks[index].body for index in at)
    if rng.random() < 0.5:
        packed, _ = mutate_bytes(rng, packed)
    else:
        rows, _ = mutate_bytes(rng, _inflated(packed))
        packed = zlib.compress(rows + bytes(rng.choice((0, 0, 1, 1 << 20))), rng.choice((0, 1, 9)))
    for index in reversed(at[1:]):
        del chunks[index]
    chunks[at[0]].body = packed


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, 8 << 20)
    except zlib.error:
        return b""


def _split(rng: random.Random, chunks: list[Chunk]) -> None:
    at = rng.randrange(len(chunks))
    chunk = chunks[at]
    cuts = sorted(rng.randint(0, len(chunk.body)) for _ in range(rng.choice((1, 2, 200))))
    chunks[at : at + 1] = [
        Chunk(chunk.kind, chunk.body[a:b]) for a, b in zip([0, *cuts], [*cuts, len(chunk.body)], strict=True)
    ]


def _reorder(rng: random.Random, chunks: list[Chunk]) -> None:
    chunks.insert(rng.randrange(len(chunks)), chunks.pop(rng.randrange(len(chunks))))


def _remove(rng: random.Random, chunks: list[Chunk]) -> None:
    if len(chunks) > 1:
        chunks.pop(rng.randrange(len(chunks)))


def _repeat(rng: random.Random, chunks: list[Chunk]) -> None:
    at = rng.randrange(len(chunks))
    chunks[at:at] = [chunks[at]] * rng.choice((1, 2, 500))


def _kind(rng: random.Random, chunks: list[Chunk]) -> None:
    chunks[rng.randrange(len(chunks))].kind = rng.choice((*_KINDS, rng.randbytes(4)))


def _length(rng: random.Random, chunks: list[Chunk]) -> None:
    chunks[rng.randrange(len(chunks))].length = edge(rng)


def _checksum(rng: random.Random, chunks: list[Chunk]) -> None:
    chunks[rng.randrange(len(chunks))].checksum = rng.getrandbits(32)


def _palette(rng: random.Random, chunks: list[Chunk]) -> None:
    body = rng.randbytes(rng.choice((0, 1, 3, 6, 767, 768, 771, 3000)))
    chunks.insert(rng.randint(1, len(chunks)), Chunk(rng.choice((b"PLTE", b"tRNS")), body))
    if rng.random() < 0.5:
        chunks[0].body = chunks[0].body[:9] + b"\3" + chunks[0].body[10:]


def _extra(rng: random.Random, chunks: list[Chunk]) -> None:
    """Chunks that other readers inflate or parse."""
    squeezed = b"name\0\0" + zlib.compress(bytes(4 << 20), 9)
    kind, body = rng.choice(
        ((b"iCCP", squeezed), (b"zTXt", squeezed), (b"eXIf", rng.randbytes(64)), (b"eXIf", b"II*\0"))
    )
    chunks.insert(rng.randint(1, len(chunks)), Chunk(kind, body))


_CHANGES: tuple[Change, ...] = (
    _header, _header, _bomb, _stream, _stream, _split, _reorder, _remove, _repeat, _kind, _length, _checksum, _palette,
    _extra,
)  # fmt: skip
