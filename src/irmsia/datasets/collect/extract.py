"""Unpacking archives of strangers: ZIP, TAR, TAR.GZ and GZ (safety line I8).

Every entry is judged by us (`irmsia.datasets.collect.archive_names`), only regular files and folders are made, in a
folder that nobody sees before it is whole. Limits hold while bytes stream, whatever headers say. Times, owners and
modes of entries are not taken over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from irmsia import durable
from irmsia.datasets.collect.archive_names import ArchiveLimits, NameBook
from irmsia.datasets.collect.inflating import GZIP, inflated
from irmsia.datasets.collect.journal import remove
from irmsia.datasets.collect.receipt import Unpacked
from irmsia.datasets.collect.tar_entries import BLOCK, is_tar, read_tar
from irmsia.datasets.collect.zip_entries import EMPTY, START, read_zip
from irmsia.errors import ArchiveRejectedError, StorageFullError, TruncatedError, UnsupportedError

Entries = Iterator[tuple[str, bool, Iterator[bytes]]]
"""Path below the root, whether it is a folder, content. A content is read before the next entry is asked for."""

_PIECE = 1 << 20
_ROOM_EVERY = 64 << 20


class ArchiveKind(StrEnum):
    """What can be unpacked, by content."""

    ZIP = "ZIP"
    TAR = "TAR"
    TAR_GZ = "TAR.GZ"
    GZ = "GZ"


def recognise(path: Path) -> ArchiveKind | None:
    """The kind of an archive; null where it is none, or damaged from its beginning.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(BLOCK)
        if head[:4] in (START, EMPTY):
            return ArchiveKind.ZIP
        if head[:2] != b"\x1f\x8b":
            return ArchiveKind.TAR if is_tar(head) else None
        file.seek(0)
        try:
            return ArchiveKind.TAR_GZ if is_tar(_Stream(_pieces(file), GZIP).read(BLOCK)) else ArchiveKind.GZ
        except (zlib.error, EOFError):
            return ArchiveKind.GZ


@contextmanager
def open_entries(path: Path, limits: ArchiveLimits, *, name: str = "") -> Iterator[Entries]:
    """What an archive holds, to be read one after the other.

    Args:
        path: the archive.
        limits: what it may become.
        name: what the one file of a GZ is called, its own suffix ``.gz`` dropped.

    Raises:
        ArchiveRejectedError: an entry that leads outside, is no regular file, or lies.
        UnsupportedError: no archive of a kind that is read; encrypted.
        TruncatedError: it ends early.
        LimitExceededError: it becomes more than allowed.
        OSError: the file cannot be read.
    """
    kind = recognise(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        yield _typed(_entries(kind, file, size, limits, name or path.name))


def count_files(path: Path, limits: ArchiveLimits) -> int:
    """Regular files in an archive, all of it read and proved. Raises as `open_entries`."""
    count = 0
    with open_entries(path, limits) as entries:
        for _, is_folder, content in entries:
            count += not is_folder
            for _ in content:
                pass
    return count


def unpack(
    path: Path,
    folder: Path,
    limits: ArchiveLimits,
    *,
    name: str = "",
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Unpacked:
    """Unpack an archive into ``folder``, which is made anew: what lay there before is removed.

    On an error the folder is removed; a killed process leaves it for the next call. The caller renames it into place.

    Args:
        path: the archive.
        folder: on the disk where it is to stay, in a place of our own.
        limits: what it may become.
        name: as of `open_entries`.
        on_bytes: called with the bytes of each piece that was written; what it raises ends the unpacking.

    Raises:
        IrmsiaError: as `open_entries`; StorageFullError where there is no room.
        OSError: what the file system says.
    """
    remove(folder)
    folder.mkdir(mode=0o755)
    try:
        with open_entries(path, limits, name=name) as entries:
            made = _Made(folder, on_bytes)
            for entry, is_folder, content in entries:
                made.add(entry, content, is_folder=is_folder)
        durable.sync_file_system(folder)
        return made.result()
    except BaseException:
        remove(folder)
        raise


def tree_digest(files: dict[str, str]) -> str:
    """SHA-256 over the sorted lines ``DIGEST  PATH`` of a folder: path below it -> SHA-256, hex."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{files[path]}  {path}\n".encode())
    return digest.hexdigest()


class _Made:
    """The folder that grows."""

    def __init__(self, root: Path, on_bytes: Callable[[int], None]) -> None:
        self._root = root
        self._on_bytes = on_bytes
        self._digests: dict[str, str] = {}
        self._bytes = 0
        self._until_look = 0
        self._last_folder = root

    def add(self, path: str, content: Iterator[bytes], *, is_folder: bool) -> None:
        """One more entry. Its name was judged; every folder above it is one of ours, for nothing else is ever made."""
        place = self._root / path
        folder = place if is_folder else place.parent
        if folder != self._last_folder:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._last_folder = folder
        if is_folder:
            for _ in content:
                pass
        else:
            self._digests[path] = self._write(place, content)

    def result(self) -> Unpacked:
        """What was made."""
        return Unpacked("", len(self._digests), self._bytes, tree_digest(self._digests))

    def _write(self, place: Path, content: Iterator[bytes]) -> str:
        digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(place, flags, 0o644), "wb", buffering=0) as file:
            for piece in content:
                self._check_room(len(piece))
                left = memoryview(piece)
                while left:
                    left = left[file.write(left) :]
                digest.update(piece)
                self._on_bytes(len(piece))
        return digest.hexdigest()

    def _check_room(self, count: int) -> None:
        """A disk that is full in the middle of much is noticed before the last byte of it is taken."""
        self._bytes += count
        self._until_look -= count
        if self._until_look <= 0:
            self._until_look = _ROOM_EVERY
            if shutil.disk_usage(self._root).free < count:
                raise StorageFullError("the disk has no room to unpack the archive")


class _Stream:
    """Unpacked bytes, read in any amounts."""

    def __init__(self, chunks: Iterator[bytes], wbits: int | None, check: Callable[[int], None] | None = None) -> None:
        self._chunks = chunks if wbits is None else inflated(chunks, wbits, members=True)
        self._held = b""
        self._check = check
        self._total = 0

    def read(self, count: int) -> bytes:
        """So many bytes; fewer only at the end."""
        parts, left = [], count
        while left:
            if not self._held:
                self._held = next(self._chunks, b"")
                while not self._held and (piece := next(self._chunks, None)) is not None:
                    self._held = piece
                if not self._held:
                    break
                self._total += len(self._held)
                if self._check is not None:
                    self._check(self._total)
            parts.append(self._held[:left])
            self._held = self._held[left:]
            left -= len(parts[-1])
        return b"".join(parts)


def _entries(kind: ArchiveKind | None, file: BinaryIO, size: int, limits: ArchiveLimits, name: str) -> Entries:
    def check(unpacked: int) -> None:
        limits.check_bytes(unpacked, size)

    if kind is ArchiveKind.ZIP:
        return read_zip(file, size, limits)
    if kind is ArchiveKind.TAR:
        return read_tar(_Stream(_pieces(file), None, check).read, limits)
    if kind is ArchiveKind.TAR_GZ:
        return read_tar(_Stream(_pieces(file), GZIP, check).read, limits)
    if kind is ArchiveKind.GZ:
        return _read_gz(_Stream(_pieces(file), GZIP, check), limits, name)
    raise UnsupportedError("no archive that is read: only ZIP, TAR, TAR.GZ and GZ are")


def _read_gz(stream: _Stream, limits: ArchiveLimits, name: str) -> Entries:
    plain = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    path = NameBook(limits).enter(plain, is_folder=False)
    yield path, False, iter(lambda: stream.read(_PIECE), b"")


def _typed(entries: Entries) -> Entries:
    """What zlib says, as errors of the archive; in contents as well."""
    try:
        for path, is_folder, content in entries:
            yield path, is_folder, _typed_content(content)
    except zlib.error:
        raise ArchiveRejectedError("the archive is damaged") from None
    except EOFError:
        raise TruncatedError("the archive ends early") from None


def _typed_content(content: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from content
    except zlib.error:
        raise ArchiveRejectedError("the archive is damaged") from None
    except EOFError:
        raise TruncatedError("the archive ends early") from None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
