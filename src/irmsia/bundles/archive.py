"""A bundle as one file, ``NAME.irmsia.zip``: a ZIP that has exactly one form, so that nothing can hide in it.

Every entry is stored, not compressed (nothing inflates), in the order manifest, signature, then by name, dated
1980-01-01, without comments or extra fields. Any ZIP program opens it. The reader takes the entries one after the other
and compares what follows them with the directory that it would have written itself: a byte more or less is refused.
Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end).
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from irmsia.bundles.load import MANIFEST, SIGNATURE
from irmsia.bundles.read import MAX_BYTES, MAX_FILES, check_names, open_regular
from irmsia.errors import BundleRejectedError, NotFoundError

SUFFIX = ".irmsia.zip"

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")

_VERSION = 20
_UTF8 = 0x0800
_STORED = 0
_TIME, _DATE = 0, 0x0021
_UNIX_FILE = (stat.S_IFREG | 0o644) << 16
_LONGEST_NAME = 800
"""Bytes: 200 characters of up to four each."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    crc: int
    size: int
    offset: int

    def local(self) -> bytes:
        head = (b"PK\3\4", _VERSION, _UTF8, _STORED, _TIME, _DATE, self.crc, self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(*head) + self.name

    def central(self) -> bytes:
        head = (b"PK\1\2", 3 << 8 | _VERSION, _VERSION, _UTF8, _STORED, _TIME, _DATE, self.crc, self.size, self.size)
        return _CENTRAL.pack(*head, len(self.name), 0, 0, 0, 0, _UNIX_FILE, self.offset) + self.name


def write_archive(files: Mapping[str, bytes]) -> bytes:
    """The archive of ``files`` (POSIX name -> content): equal files give equal bytes.

    Raises:
        BundleRejectedError: a name that no bundle may hold, too many files or bytes.
    """
    check_names(files)
    _check_amount(len(files), sum(map(len, files.values())))
    parts: list[bytes] = []
    entries: list[_Entry] = []
    offset = 0
    for name in sorted(files, key=_rank):
        entry = _Entry(name.encode("utf-8"), zlib.crc32(files[name]), len(files[name]), offset)
        parts += [entry.local(), files[name]]
        entries.append(entry)
        offset += len(parts[-2]) + len(parts[-1])
    return b"".join([*parts, _directory(entries, offset)])


def read_archive(path: Path) -> dict[str, bytes]:
    """POSIX name -> content of every file in the archive ``path``, which is read once.

    Raises:
        NotFoundError: there is no such file.
        BundleRejectedError: not a regular file, not an archive in the one form, too many files or bytes.
    """
    with _opened(path) as file:
        left = os.fstat(file.fileno()).st_size
        _check_amount(0, left - MAX_FILES * (_LOCAL.size + _CENTRAL.size + 2 * _LONGEST_NAME))
        return _read_entries(file, left)


def _read_entries(file: BinaryIO, left: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    entries: list[_Entry] = []
    offset = 0
    while (signature := _take(file, 4)) == b"PK\3\4":
        entry, data = _read_entry(file, signature, offset, left=left - offset)
        name = _decode(entry.name)
        if name in files or (entries and _rank(name) < _rank(_decode(entries[-1].name))):
            raise BundleRejectedError("the archive's files are not in the order of `irmsia models export`")
        files[name] = data
        entries.append(entry)
        offset += len(entry.local()) + entry.size
        _check_amount(len(files), offset)
    check_names(files)
    expected = _directory(entries, offset)
    if signature + file.read(len(expected)) != expected:
        raise BundleRejectedError("the archive is not as `irmsia models export` writes it")
    return files


def _read_entry(file: BinaryIO, signature: bytes, offset: int, *, left: int) -> tuple[_Entry, bytes]:
    head = signature + _take(file, _LOCAL.size - len(signature))
    *_, crc, size, _, length, _ = _LOCAL.unpack(head)
    if length > _LONGEST_NAME or _LOCAL.size + length + size > left:
        raise BundleRejectedError("the archive ends before what it announces")
    entry = _Entry(_take(file, length), crc, size, offset)
    if entry.local() != head + entry.name:
        raise BundleRejectedError(
            "the archive holds an entry that is not a plain stored file; use `irmsia models export`"
        )
    data = _take(file, size)
    if zlib.crc32(data) != crc:
        raise BundleRejectedError("the archive is damaged")
    return entry, data


def _directory(entries: list[_Entry], offset: int) -> bytes:
    central = b"".join(entry.central() for entry in entries)
    return central + _END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), len(central), offset, 0)


def _rank(name: str) -> tuple[int, bytes]:
    first = (MANIFEST, SIGNATURE)
    return first.index(name) if name in first else len(first), name.encode("utf-8")


def _check_amount(files: int, size: int) -> None:
    if files > MAX_FILES:
        raise BundleRejectedError(f"more than {MAX_FILES} files")
    if size > MAX_BYTES:
        raise BundleRejectedError("the archive exceeds the size limit of a bundle")


def _take(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise BundleRejectedError("the file is no bundle archive, or it is cut short")
    return data


def _decode(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleRejectedError("the archive holds a file name that is not UTF-8") from error


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError("there is no such bundle") from error
    except (OSError, ValueError) as error:
        raise BundleRejectedError("the bundle is neither a folder nor a regular file that can be read") from error
