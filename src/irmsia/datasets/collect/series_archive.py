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
from irmsia.datasets.collect.zip_entries import read_zip
from irmsia.errors import ArchiveRejectedError, ChecksumMismatchError, SourceFailedError, TruncatedError

HASHES = "md5hashes.csv"

_MOST_HASHES = 64 * 1024 * 1024
_SLACK = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")


def check_series_archive(path: Path, *, images: int, limits: ArchiveLimits) -> None:
    """Read every file of the archive.

    Args:
        path: the ZIP.
        images: files that it must hold besides ``md5hashes.csv``.
        limits: what it may unpack to.

    Raises:
        SourceFailedError: what came is no ZIP: an error page, an empty answer.
        TruncatedError: it ends early, or holds fewer files.
        ArchiveRejectedError: it holds more files, or ones without a digest; or it is damaged or hostile.
        ChecksumMismatchError: a file is not what its MD5 says.
        LimitExceededError: it is larger than announced.
    """
    found: dict[str, str] = {}
    told: dict[str, str] | None = None
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise SourceFailedError("NBIA sends something that is no ZIP")
        file.seek(0)
        for name, is_folder, pieces in read_zip(file, path.stat().st_size, limits):
            if name == HASHES:
                told = _digests(pieces)
            elif not is_folder:
                found[name] = _md5(pieces)
    if len(found) < images or told is None:
        raise TruncatedError(f"the archive holds {len(found)} of the series' {images} files: NBIA ended it early")
    if len(found) > images or set(told) != set(found):
        raise ArchiveRejectedError("the archive holds other files than the series has")
    if told != found:
        raise ChecksumMismatchError("a file of the series is not what its MD5 says")


def limits_of(announced: int | None, images: int, limits: ArchiveLimits) -> ArchiveLimits:
    """``limits``, narrowed to what the catalogue announced: the table of digests and a little more besides."""
    entries = min(limits.entries, images + 2)
    if announced is None:
        return ArchiveLimits(limits.bytes, entries, limits.ratio)
    return ArchiveLimits(min(limits.bytes, announced + 256 * images + _SLACK), entries, limits.ratio)


def _md5(pieces: Iterator[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _digests(pieces: Iterator[bytes]) -> dict[str, str]:
    """Name -> MD5, as the table says."""
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > _MOST_HASHES:
            raise ArchiveRejectedError("the archive's table of digests is too long")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8", "replace"))))
    if not rows or rows[0] != ["Filename", "MD5Hash"]:
        raise ArchiveRejectedError("the archive's table of digests cannot be read")
    digests = {row[0]: row[1].strip().lower() for row in rows[1:] if len(row) == 2}
    if not all(_MD5.fullmatch(digest) for digest in digests.values()):
        raise ArchiveRejectedError("the archive's table of digests cannot be read")
    return digests
