"""The ZIP of a series, as NBIA streams it, held against what the catalogue said of it.

A read error on the server ends the stream early: a whole ZIP with too few files, and status 200. So the files are
counted, and each is held against its MD5 in ``md5hashes.csv``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from irmsia.datasets.collect.archive_names import ArchiveLimits
from irmsia.datasets.collect.extract import ArchiveKind, open_entries, recognise
from irmsia.errors import ArchiveRejectedError, ChecksumMismatchError, SourceFailedError, TruncatedError

HASHES = "md5hashes.csv"

_MOST_HASHES = 64 * 1024 * 1024
_SLACK = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{1,32}")
_NONE = frozenset({"", "null"})


def check_series_archive(path: Path, *, images: int | None, limits: ArchiveLimits) -> None:
    """Read every file of the archive.

    Args:
        path: the ZIP.
        images: files that it must hold besides ``md5hashes.csv``; null where nobody knows.
        limits: what it may unpack to.

    Raises:
        SourceFailedError: what came is no ZIP: an error page, an empty answer.
        TruncatedError: it ends early, or holds fewer files.
        ArchiveRejectedError: it holds more files, or ones without a digest; or it is damaged or hostile.
        ChecksumMismatchError: a file is not what its MD5 says.
        LimitExceededError: it is larger than announced.
    """
    if recognise(path) is not ArchiveKind.ZIP:
        raise SourceFailedError("NBIA sends something that is no ZIP")
    found: dict[str, str] = {}
    told: dict[str, str | None] | None = None
    with open_entries(path, limits) as entries:
        for name, is_folder, pieces in entries:
            if name == HASHES:
                told = _digests(pieces)
            elif not is_folder:
                found[name] = _md5(pieces)
    if told is None or (images is not None and len(found) < images):
        announced = "" if images is None else f" of the series' {images}"
        raise TruncatedError(f"the archive holds {len(found)}{announced} files: NBIA ended it early")
    if (images is not None and len(found) > images) or set(told) != set(found):
        raise ArchiveRejectedError("the archive holds other files than the series has")
    if any(digest not in (None, found[name]) for name, digest in told.items()):
        raise ChecksumMismatchError("a file of the series is not what its MD5 says")


def limits_of(limits: ArchiveLimits, *, images: int | None, announced: int | None) -> ArchiveLimits:
    """``limits``, narrowed to what the catalogue announced: the table of digests and a little more besides."""
    if images is None or announced is None:
        return limits
    return ArchiveLimits(
        bytes=min(limits.bytes, announced + 256 * images + _SLACK),
        entries=min(limits.entries, images + 2),
        ratio=limits.ratio,
    )


def most_packed(announced: int | None, images: int | None) -> int | None:
    """Bytes that the ZIP of a series cannot exceed: deflating what does not shrink adds far less than a hundredth."""
    if announced is None or images is None:
        return None
    return announced + announced // 100 + 512 * images + _SLACK


def _md5(pieces: Iterator[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _digests(pieces: Iterator[bytes]) -> dict[str, str | None]:
    """Name -> MD5, as the table says; null where NBIA knows none. Old ones may have lost their leading zeros."""
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > _MOST_HASHES:
            raise ArchiveRejectedError("the archive's table of digests is too long")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8", "replace"))))
    if not rows or rows[0] != ["Filename", "MD5Hash"]:
        raise ArchiveRejectedError("the archive's table of digests cannot be read")
    digests: dict[str, str | None] = {}
    for name, digest in (row for row in rows[1:] if len(row) == 2):
        plain = digest.strip().lower()
        if plain not in _NONE and not _MD5.fullmatch(plain):
            raise ArchiveRejectedError("the archive's table of digests cannot be read")
        digests[name] = None if plain in _NONE else plain.zfill(32)
    return digests
