"""Reading a folder that nobody trusts yet: every regular file once, into memory, following no link.

`irmsia.bundles.archive` reads the same from one file.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from irmsia.errors import BundleRejectedError, NotFoundError

MAX_FILES = 64
MAX_BYTES = 512 * 1024 * 1024
"""Of all files together."""

_MAX_DEPTH = 4


def read_folder(path: Path, *, hard_links: bool = True) -> dict[str, bytes]:
    """POSIX name -> content of every file below ``path``.

    ``hard_links``: whether a file may have a second name elsewhere, as installers and backups make them.

    Raises:
        NotFoundError: there is no such directory.
        BundleRejectedError: a link, a device, a pipe, too many files or bytes, a folder that cannot be read.
    """
    files: dict[str, bytes] = {}
    with _opened_directory(path) as descriptor:
        _read_into(files, descriptor, PurePosixPath(), links=hard_links)
    check_names(files)
    return files


def check_name(name: str) -> None:
    """Nothing when ``name`` is a plain relative POSIX path within the bundle.

    Raises:
        BundleRejectedError: absolute, ``..``, empty parts, a backslash, a control character, too deep.
    """
    parts = name.split("/")
    plain = all(part not in {"", ".", ".."} and part.isprintable() and not {"\\", ":"} & set(part) for part in parts)
    if not plain or len(parts) > _MAX_DEPTH or len(name) > 200:
        raise BundleRejectedError(f"a file name that no bundle may hold: {name[:80]!r}")


def check_names(names: Iterable[str]) -> None:
    """Nothing when every name is plain and no two are one on a file system that folds case or composes letters.

    Raises:
        BundleRejectedError: as `check_name`, or two names collide.
    """
    folded: dict[str, str] = {}
    for name in names:
        check_name(name)
        if folded.setdefault(unicodedata.normalize("NFKC", name).casefold(), name) != name:
            raise BundleRejectedError(f"two files of one name but for its letters' case: {name[:80]!r}")


def open_regular(path: Path, *, flags: int = 0) -> BinaryIO:
    """Open a regular file to be read; a pipe does not make this wait for its writer. ``flags`` as of `os.open`.

    Raises:
        OSError: what the file system says, also where it is anything but a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.fdopen(descriptor, "rb")
    except (OSError, MemoryError):
        os.close(descriptor)
        raise


@contextmanager
def _opened_directory(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise NotFoundError("there is no such bundle") from error
    except OSError as error:
        raise BundleRejectedError("the bundle is not a folder that can be read") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_into(files: dict[str, bytes], directory: int, prefix: PurePosixPath, *, links: bool) -> None:
    for entry in _list_names(directory):
        name = str(prefix / entry)
        check_name(name)
        descriptor = _open_entry(entry, directory, name)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                _read_into(files, descriptor, prefix / entry, links=links)
            elif not stat.S_ISREG(status.st_mode):
                raise BundleRejectedError(f"{name!r} is not a regular file")
            elif status.st_nlink > 1 and not links:
                raise BundleRejectedError(f"{name!r} is a hard link")
            else:
                files[name] = _read_file(descriptor, name, MAX_BYTES - sum(map(len, files.values())))
        finally:
            os.close(descriptor)
        if len(files) > MAX_FILES:
            raise BundleRejectedError(f"more than {MAX_FILES} files")


def _list_names(directory: int) -> list[str]:
    """Sorted; a folder of a million entries is not listed to its end."""
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > MAX_FILES:
                raise BundleRejectedError(f"more than {MAX_FILES} files")
    return sorted(names)


def _open_entry(entry: str, directory: int, name: str) -> int:
    try:
        # O_NONBLOCK: opening a named pipe must not wait for its writer.
        return os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        raise BundleRejectedError(f"{name!r} is a link or cannot be read") from error


def _read_file(descriptor: int, name: str, room: int) -> bytes:
    size = os.fstat(descriptor).st_size
    if size > room:
        raise BundleRejectedError(f"{name!r} exceeds the size limit of a bundle")
    with os.fdopen(os.dup(descriptor), "rb") as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise BundleRejectedError(f"{name!r} changes while it is read")
    return data
