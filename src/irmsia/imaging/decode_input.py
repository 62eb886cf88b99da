"""An input for a child: bytes, or a file that this process opens and the child reads through the descriptor."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from irmsia.errors import IrmsiaError, LimitExceededError, NotFoundError, NotReadableError, from_system
from irmsia.imaging.limits import ReadLimits

_READ_STEP = 1 << 20
_LEAST_READ = 1 << 16
_MAPPED_FROM = 64 << 20  # larger files are mapped: their pages are the kernel's, not this process's

Source = bytes | Path


@dataclass(frozen=True, slots=True)
class Given:
    """An input: its bytes, or an open descriptor of a regular file."""

    data: bytes
    descriptor: int | None
    size: int

    def digest(self) -> str:
        """SHA-256 (hex) of the input, read in steps where it is a file.

        Raises:
            NotReadableError: the file cannot be read to its end.
        """
        if self.descriptor is None:
            return hashlib.sha256(self.data).hexdigest()
        state = hashlib.sha256()
        try:
            for at in range(0, self.size, _READ_STEP):
                state.update(os.pread(self.descriptor, _READ_STEP, at))
        except OSError as error:
            raise from_system(error, "the file cannot be read", NotReadableError) from None
        return state.hexdigest()


@contextmanager
def open_input(source: Source, limits: ReadLimits) -> Iterator[Given]:
    """Check an input without reading it, and hold its file open meanwhile.

    Raises:
        NotFoundError, NotReadableError: no such file, or none that can be opened and is regular.
        LimitExceededError: more bytes than allowed.
        OverloadedError: this process has no descriptor left.
    """
    if not isinstance(source, Path):
        _check_bytes(len(source), limits)
        yield Given(source, None, len(source))
        return
    descriptor = _open_file(source)
    try:
        status = _status_of(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotReadableError("not a regular file")
        _check_bytes(status.st_size, limits)
        yield Given(b"", descriptor, status.st_size)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, *, mapped_from: int | None = None) -> memoryview:
    """The bytes of an open file, from its start; those of a large file are mapped and not held.

    ``mapped_from``: bytes from which on a file is large, 64 MiB unless told.

    Raises:
        NotReadableError: the file gives an error.
        MemoryError: it does not fit into this process.
    """
    try:
        size = os.fstat(descriptor).st_size
        if size < (_MAPPED_FROM if mapped_from is None else mapped_from):
            return memoryview(_read_from_start(descriptor, size))
        # Unmapped when the last view of it goes.
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # ValueError: emptied meanwhile, which cannot be mapped
        raise NotReadableError("the file cannot be read") from None


def _read_from_start(descriptor: int, size: int) -> bytes:
    """All of a file of about ``size`` bytes, wherever it stands: a child that had it before has moved it for all."""
    parts: list[bytes] = []
    at = 0
    while part := os.pread(descriptor, max(size - at, _LEAST_READ), at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)  # the very object where there is one part, as of every ordinary file


def _status_of(descriptor: int) -> os.stat_result:
    try:
        return os.fstat(descriptor)
    except OSError as error:
        raise from_system(error, "the file cannot be read", NotReadableError) from None


def digest_input(source: Source, limits: ReadLimits) -> str | None:
    """SHA-256 (hex) of an input that could not be answered; null where it cannot be read or is too large."""
    try:
        with open_input(source, limits) as given:
            return given.digest()
    except IrmsiaError:
        return None


def _open_file(path: Path) -> int:
    try:
        # Without O_NONBLOCK opening a named pipe would wait for a writer.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError("there is no such file") from None
    except ValueError:
        raise NotReadableError("the file cannot be opened") from None
    except OSError as error:
        raise from_system(error, "the file cannot be opened", NotReadableError) from None


def _check_bytes(size: int, limits: ReadLimits) -> None:
    if size > limits.file_bytes:
        raise LimitExceededError(f"a file of {size} bytes; the limit is {limits.file_bytes}")
