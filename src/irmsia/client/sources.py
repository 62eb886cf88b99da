"""What is to be answered: bytes, or a file that is read piece by piece and hashed meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from irmsia.errors import LimitExceededError, NotFoundError, NotReadableError
from irmsia.wire import MAX_UNARY_BYTES

Source = bytes | str | Path
"""A file's bytes, or its path as text or `Path`."""


class OpenSource:
    """``size`` bytes that can be read at any offset, from any thread. Close it, or use it as a context manager."""

    def __init__(self, source: Source) -> None:
        """Open a path; bytes are kept as they are.

        Raises:
            NotFoundError, NotReadableError: the path gives no bytes.
        """
        self._data = source if isinstance(source, bytes) else None
        self._file: BinaryIO | None = None if isinstance(source, bytes) else _open(Path(source))
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._hashed = 0
        self.size = len(source) if isinstance(source, bytes) else os.fstat(self._open_file().fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def in_memory(self) -> bool:
        """Whether reading waits for no disk."""
        return self._data is not None

    @property
    def hashed(self) -> int:
        """How many bytes from the start were read, and so hashed."""
        return self._hashed

    @property
    def sha256(self) -> bytes | None:
        """The digest of the whole, once every byte was read."""
        return self._digest.digest() if self._hashed == self.size else None

    def read(self, offset: int, count: int) -> bytes:
        """At most ``count`` bytes from ``offset`` (at most `hashed`) on; what is read for the first time is hashed.

        Raises:
            NotReadableError: the file gives fewer bytes than it said it has.
        """
        with self._lock:
            data = self._piece(offset, count)
            if offset + len(data) < min(offset + count, self.size):
                raise NotReadableError("the file became shorter while it was read")
            new = self._hashed - offset
            if 0 <= new < len(data):
                self._digest.update(data[new:] if new else data)
                self._hashed = offset + len(data)
        return data

    def read_whole(self) -> bytes:
        """All of it, for one message.

        Raises:
            LimitExceededError: more than one message may hold.
            NotReadableError: as `read`.
        """
        if self.size > MAX_UNARY_BYTES:
            raise LimitExceededError(f"an image in one message has at most {MAX_UNARY_BYTES} bytes")
        return self.read(0, self.size)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _piece(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        if self._data is not None:
            return self._data if count == self.size else self._data[offset : offset + count]
        try:
            file = self._open_file()
            file.seek(offset)
            return file.read(count)
        except (OSError, ValueError) as error:
            raise _not_readable(error) from None

    def _open_file(self) -> BinaryIO:
        assert self._file is not None, "bytes need no file"
        return self._file


def shown_name(source: Source, name: str | None) -> str | None:
    """What an answer calls its input: ``name``, else the path."""
    return name if name is not None else (None if isinstance(source, bytes) else str(source))


def _open(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise NotReadableError("not a regular file")
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError("there is no such file") from None
    except (OSError, ValueError) as error:
        raise _not_readable(error) from None


def _not_readable(error: OSError | ValueError) -> NotReadableError:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not a file name"
    return NotReadableError(f"the file cannot be read: {reason}")
