"""The sealed list: which samples are the test part, fixed before training (contract section 5).

A line names a sample by digests and its group by a keyless digest, so the list can be published without the data.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from irmsia import durable
from irmsia.errors import InvalidRequestError

_MAX_PERCEPTUAL = 4
_MAX_DIFFERENCE = 16


@dataclass(frozen=True, slots=True)
class SealedSample:
    """One sealed sample.

    Attributes:
        file_sha256: of the file's bytes.
        frame_sha256: of its frames, contract section 1.
        perceptual_hash: 64 bits, hexadecimal.
        difference_hash: 256 bits, hexadecimal.
        group: SHA-256 of ``source|group``.
    """

    file_sha256: str
    frame_sha256: tuple[str, ...]
    perceptual_hash: str
    difference_hash: str
    group: str


def group_digest(source: str, group: str) -> str:
    """Return the SHA-256 (hex) that a sealed line shows instead of the group's name."""
    return hashlib.sha256(f"{source}|{group}".encode()).hexdigest()


def is_sealed(candidate: SealedSample, sealed: Iterable[SealedSample]) -> bool:
    """Return whether a sample is, belongs to the group of, or looks like a listed one.

    Looks like: perceptual hashes at most 4 of 64 bits and difference hashes at most 16 of 256 bits apart.
    """
    return any(_hits(candidate, other) for other in sealed)


def write_sealed(path: Path, sealed: Sequence[SealedSample]) -> None:
    """Write the list as JSON lines, sorted by file digest, atomically."""
    durable.write_text(path, format_sealed(sealed))


def format_sealed(sealed: Sequence[SealedSample]) -> str:
    """Return the list as JSON lines, sorted by file digest."""
    rows = sorted(sealed, key=lambda sample: sample.file_sha256)
    return "".join(json.dumps(asdict(row), sort_keys=True, separators=(",", ":")) + "\n" for row in rows)


def read_sealed(path: Path) -> tuple[SealedSample, ...]:
    """Read a list that `write_sealed` wrote.

    Raises:
        InvalidRequestError: a line is no sealed sample.
    """
    return parse_sealed(path.read_text(encoding="utf-8"))


def parse_sealed(text: str) -> tuple[SealedSample, ...]:
    """Parse what `format_sealed` made.

    Raises:
        InvalidRequestError: a line is no sealed sample.
    """
    return tuple(_parse(line) for line in text.splitlines() if line)


def _parse(line: str) -> SealedSample:
    try:
        row = json.loads(line)
        row["frame_sha256"] = tuple(row["frame_sha256"])
        return SealedSample(**row)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRequestError("a line of the sealed list cannot be read") from error


def _hits(one: SealedSample, other: SealedSample) -> bool:
    same = one.file_sha256 == other.file_sha256 or one.group == other.group
    return same or bool(set(one.frame_sha256) & set(other.frame_sha256)) or _look_alike(one, other)


def _look_alike(one: SealedSample, other: SealedSample) -> bool:
    return (
        _hamming(one.perceptual_hash, other.perceptual_hash) <= _MAX_PERCEPTUAL
        and _hamming(one.difference_hash, other.difference_hash) <= _MAX_DIFFERENCE
    )


def _hamming(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
