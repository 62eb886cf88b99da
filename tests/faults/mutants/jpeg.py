"""Mutations of JPEG streams (also those inside DICOM): markers, frame header, tables, restarts, scans."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.mutants.raw import edge, mutate_bytes

_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xF7)
_TABLES = (0xC4, 0xDB, 0xCC, 0xDD, 0xDA, 0xF8)
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})


@dataclass
class Segment:
    """A marker, its content, and for a scan the coded bytes after it. ``length`` is a forgery."""

    marker: int
    body: bytes = b""
    coded: bytes = b""
    length: int | None = None


Change = Callable[[random.Random, list[Segment]], None]


def mutate_jpeg(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """``data`` after one to three changes of its segments."""
    segments = take_apart(data)
    if len(segments) < 3:
        return mutate_bytes(rng, data)
    changes = [rng.choice(_CHANGES) for _ in range(rng.choice((1, 1, 2, 3)))]
    for change in changes:
        change(rng, segments)
    return put_together(segments), "+".join(change.__name__.strip("_") for change in changes)


def take_apart(data: bytes) -> list[Segment]:
    """The segments of a stream, as far as they can be followed."""
    segments: list[Segment] = []
    at = 0
    while at + 2 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        at += 2
        if marker in _BARE:
            segments.append(Segment(marker))
            continue
        if at + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, at)
        segment = Segment(marker, data[at + 2 : at + length])
        at += max(length, 2)
        if marker == 0xDA:
            end = _scan_end(data, at)
            segment.coded, at = data[at:end], end
        segments.append(segment)
    return segments


def put_together(segments: list[Segment]) -> bytes:
    """The stream of these segments."""
    parts = []
    for segment in segments:
        parts.append(bytes([0xFF, segment.marker]))
        if segment.marker not in _BARE or segment.body:
            length = len(segment.body) + 2 if segment.length is None else segment.length
            parts += [struct.pack(">H", length & 0xFFFF), segment.body, segment.coded]
    return b"".join(parts)


def _scan_end(data: bytes, at: int) -> int:
    while (at := data.find(b"\xff", at)) >= 0:
        if at + 1 < len(data) and data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    return len(data)


def _of(rng: random.Random, segments: list[Segment], markers: tuple[int, ...]) -> Segment | None:
    found = [segment for segment in segments if segment.marker in markers and segment.body]
    return rng.choice(found) if found else None


def _frame(rng: random.Random, segments: list[Segment]) -> None:
    """Another size, precision, number of components or sampling."""
    if (segment := _of(rng, segments, _FRAMES)) is None or len(segment.body) < 6:
        return
    body = bytearray(segment.body)
    match rng.randrange(5):
        case 0:
            struct.pack_into(">H", body, 1, edge(rng, 0xFFFF))
        case 1:
            struct.pack_into(">H", body, 3, edge(rng, 0xFFFF))
        case 2:
            body[0] = rng.choice((0, 1, 2, 7, 8, 9, 12, 16, 17, 255))
        case 3:
            body[5] = rng.choice((0, 1, 2, 3, 4, 5, 255))
        case _:
            body[rng.randrange(6, len(body)) if len(body) > 6 else 5] = rng.randrange(256)
    segment.body = bytes(body)


def _frame_kind(rng: random.Random, segments: list[Segment]) -> None:
    if segment := _of(rng, segments, _FRAMES):
        segment.marker = rng.choice(_FRAMES)


def _table(rng: random.Random, segments: list[Segment]) -> None:
    """Quantisation, Huffman, arithmetic tables, restart interval, scan header."""
    if segment := _of(rng, segments, _TABLES):
        segment.body, _ = mutate_bytes(rng, segment.body)


def _table_without(rng: random.Random, segments: list[Segment]) -> None:
    kind = rng.choice(_TABLES)
    segments[:] = [segment for segment in segments if segment.marker != kind]


def _restart(rng: random.Random, segments: list[Segment]) -> None:
    """A restart interval that the scan does not keep, or restart markers out of turn."""
    if rng.random() < 0.5:
        segments.insert(1, Segment(0xDD, struct.pack(">H", edge(rng, 0xFFFF))))
    elif scan := _of(rng, segments, (0xDA,)):
        coded = bytearray(scan.coded)
        for _ in range(rng.choice((1, 8, 500))):
            at = rng.randint(0, len(coded))
            coded[at:at] = bytes([0xFF, 0xD0 + rng.randrange(8)])
        scan.coded = bytes(coded)


def _scan(rng: random.Random, segments: list[Segment]) -> None:
    if scan := _of(rng, segments, (0xDA,)):
        scan.coded, _ = mutate_bytes(rng, scan.coded or b"\0")


def _scan_cut(rng: random.Random, segments: list[Segment]) -> None:
    if scan := _of(rng, segments, (0xDA,)):
        scan.coded = scan.coded[: rng.randint(0, len(scan.coded))]


def _scans(rng: random.Random, segments: list[Segment]) -> None:
    """Very many scans: progressive decoders do the work of each."""
    at = next((index for index, segment in enumerate(segments) if segment.marker == 0xDA), None)
    if at is not None:
        segments[at:at] = [Segment(0xDA, segments[at].body, segments[at].coded[:64])] * rng.choice((1, 10, 1000))


def _repeat(rng: random.Random, segments: list[Segment]) -> None:
    at = rng.randrange(len(segments))
    segments[at:at] = [segments[at]] * rng.choice((1, 2, 50))


def _remove(rng: random.Random, segments: list[Segment]) -> None:
    if len(segments) > 1:
        segments.pop(rng.randrange(len(segments)))


def _reorder(rng: random.Random, segments: list[Segment]) -> None:
    segments.insert(rng.randrange(len(segments)), segments.pop(rng.randrange(len(segments))))


def _length(rng: random.Random, segments: list[Segment]) -> None:
    if segment := rng.choice([segment for segment in segments if segment.body] or [None]):
        segment.length = edge(rng, 0xFFFF)


def _marker(rng: random.Random, segments: list[Segment]) -> None:
    rng.choice(segments).marker = rng.randrange(256)


def _comment(rng: random.Random, segments: list[Segment]) -> None:
    """Application data that readers look into: Adobe, JFIF, EXIF with loops, LSE of JPEG-LS."""
    kinds = ((0xEE, b"Adobe\0" + rng.randbytes(7)), (0xE0, b"JFIF\0" + rng.randbytes(9)), (0xFE, rng.randbytes(60_000)))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0112, rng.randrange(14), edge(rng), edge(rng), 8)
    marker, body = rng.choice((*kinds, (0xE1, exif), (0xF8, rng.randbytes(11))))
    segments.insert(1, Segment(marker, body))


_CHANGES: tuple[Change, ...] = (
    _frame, _frame, _frame_kind, _table, _table, _table_without, _restart, _scan, _scan_cut, _scans, _repeat, _remove,
    _reorder, _length, _marker, _comment,
)  # fmt: skip
