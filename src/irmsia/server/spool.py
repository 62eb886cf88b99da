"""The bytes of one upload: hashed while they grow, first in memory, then in a file that this user alone may read.

Each process keeps its files in a folder of its own; those of the dead are removed by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from irmsia.server.run_file import process_mark

_FLAGS = os.O_WRONLY | os.O_CLOEXEC

_UNKNOWN = "unknown"
"""Stands for the mark of a process that could not read its own."""


class Spool:
    """Grows at its end. Blocking, one caller at a time; `add` may run on any thread.

    The file is opened anew for every piece: an upload that nobody goes on with holds no descriptor.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._pieces: list[bytes] = []
        self._on_disk = False
        self._hash = hashlib.sha256()

    @property
    def in_memory(self) -> int:
        """Bytes held in memory."""
        return 0 if self._on_disk else self.size

    def add(self, data: bytes, *, to_disk: bool) -> None:
        """Keep ``data`` at the end. What was on disk once stays there.

        Raises:
            OSError: what the file system says; then nothing of ``data`` counts, and only `remove` is left to do.
        """
        if self._on_disk:
            self._write(data, at=self.size)
        elif to_disk:
            for folder in (self._path.parent.parent, self._path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(*self._pieces, data, at=0)
            self._on_disk = True
            self._pieces.clear()
        else:
            self._pieces.append(data)
        self._hash.update(data)
        self.size += len(data)

    def sha256(self) -> str:
        """SHA-256 (hex) of all that was kept."""
        return self._hash.hexdigest()

    def source(self) -> bytes | Path:
        """What was kept: its bytes, or the path of the file that holds them."""
        if self._on_disk:
            return self._path
        if len(self._pieces) != 1:
            self._pieces[:] = [b"".join(self._pieces)]
        return self._pieces[0]

    def remove(self) -> None:
        """Give up the bytes and their file, also one whose first write failed. Twice is once."""
        self._pieces.clear()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _write(self, *pieces: bytes, at: int) -> None:
        flags = _FLAGS | (0 if self._on_disk else os.O_CREAT | os.O_EXCL)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            for piece in pieces:
                _write_all(descriptor, piece, at)
                at += len(piece)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written


def process_folder(pid: int) -> str:
    """Name of the folder of one process, no other's even when its pid is given out again."""
    mark = process_mark(pid)
    return f"{pid}-{_UNKNOWN if mark is None else hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def remove_leftovers(folder: Path) -> None:
    """Remove the folders of processes that live no more. What cannot be looked at now is left to a later start."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*-*"):
            pid = path.name.partition("-")[0]
            if pid.isdecimal() and _is_dead(int(pid), path.name):
                shutil.rmtree(path, ignore_errors=True)


def _is_dead(pid: int, name: str) -> bool:
    if process_mark(pid) is None:
        return True
    return name not in {process_folder(pid), f"{pid}-{_UNKNOWN}"}
