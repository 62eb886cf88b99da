"""The sealed list: which samples are the test part, fixed before training (contract section 5).

A line names a sample by digests and its group by a keyless digest, so the list can be published without the data.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irmsia import durable
from irmsia.errors import InvalidRequestError

_MAX_PERCEPTUAL = 4
_MAX_DIFFERENCE = 16
_PERCEPTUAL_BYTES = 8
_DIFFERENCE_BYTES = 32


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


class SealedIndex:
    """Finds sealed samples fast: by digest, by group, or by look.

    Looks like: perceptual hashes at most 4 of 64 bits and difference hashes at most 16 of 256 bits apart, which a
    re-encoded or resized copy keeps.
    """

    def __init__(self, sealed: Sequence[SealedSample]) -> None:
        self._groups = {row.group for row in sealed}
        self._digests = {digest for row in sealed for digest in (row.file_sha256, *row.frame_sha256)}
        self._perceptual = _hash_bytes([row.perceptual_hash for row in sealed], _PERCEPTUAL_BYTES)
        self._difference = _hash_bytes([row.difference_hash for row in sealed], _DIFFERENCE_BYTES)

    def holds_group(self, candidate: SealedSample) -> bool:
        """Return whether the sample's group is sealed."""
        return candidate.group in self._groups

    def holds_copy(self, candidate: SealedSample) -> bool:
        """Return whether the sample is a listed one, has its pixels, or looks like one."""
        if not self._digests.isdisjoint((candidate.file_sha256, *candidate.frame_sha256)):
            return True
        near = _distances(self._perceptual, candidate.perceptual_hash) <= _MAX_PERCEPTUAL
        alike = near & (_distances(self._difference, candidate.difference_hash) <= _MAX_DIFFERENCE)
        return bool(alike.any())


def is_sealed(candidate: SealedSample, sealed: Sequence[SealedSample]) -> bool:
    """Return whether a sample is, belongs to the group of, or looks like a listed one."""
    index = SealedIndex(sealed)
    return index.holds_group(candidate) or index.holds_copy(candidate)


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


def _hash_bytes(hashes: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Return hexadecimal hashes as (n, size) bytes."""
    joined = b"".join(int(value, 16).to_bytes(size, "big") for value in hashes)
    return np.frombuffer(joined, np.uint8).reshape(-1, size)


def _distances(hashes: NDArray[np.uint8], value: str) -> NDArray[np.int64]:
    """Return the Hamming distances (n,) of a hash from each of (n, size) bytes."""
    own = _hash_bytes([value], hashes.shape[1])
    return np.asarray(np.bitwise_count(hashes ^ own).sum(axis=1), dtype=np.int64)
