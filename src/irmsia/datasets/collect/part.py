"""A file that grows: its bytes, its digests, and how far it can be trusted after whatever ended the process."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from irmsia.datasets.collect.journal import Journal

_FIRST_CHECKPOINT, _CHECKPOINT = 1 << 20, 64 << 20
_PIECE = 1 << 20
_ALWAYS = frozenset({"sha256", "md5"})
"""Servers tell MD5 in headers, after the first bytes may have come."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Origin:
    """What makes bytes at one time those at another: the digest of the address and what the server said of the file.

    Attributes:
        address: SHA-256 of the whole address.
        etag: a strong ETag, else null.
        modified: Last-Modified, else null.
        total: bytes of the whole file, where the server says so.
    """

    address: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes."""
        return self.etag or self.modified


class Part:
    """One file on its way. What lies there already is taken up where the journal knows it.

    Every so often the bytes are synced and the journal told how many there are, and their digest. Bytes after that
    are trusted as long as the machine did not go down: a killed process loses none, a power cut may.

    Args:
        journal: of the target.
        path: of the file below it.
        address: SHA-256 of where the bytes come from; bytes from elsewhere are dropped.
        on_size: called with the number of bytes whenever it changes.
        algorithm: a digest that `hex` is to know besides SHA-256 and MD5.

    Raises:
        OSError: what the file system says.
    """

    def __init__(
        self,
        journal: Journal,
        path: str,
        address: str,
        on_size: Callable[[int], None],
        *,
        algorithm: str = "sha256",
    ) -> None:
        self._journal = journal
        self._path = path
        self._on_size = on_size
        self.place = journal.part(path)
        self.origin = Origin(address)
        self.size = 0
        self._algorithms = _ALWAYS | {algorithm}
        self._hashes = self._new_hashes()
        self._checkpoint = _FIRST_CHECKPOINT
        descriptor = os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            if not self._take_up(journal.state(path)):
                self.reset()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def begin(self, origin: Origin) -> None:
        """The server answers: this is what it says of the file."""
        self.origin = origin

    def write(self, data: bytes) -> None:
        """Add bytes."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except BaseException:
            with contextlib.suppress(OSError):  # as many bytes as were hashed
                os.ftruncate(self._file.fileno(), self.size)
                self._file.seek(self.size)
            raise
        for each in self._hashes.values():
            each.update(data)
        self.size += len(data)
        self._on_size(self.size)
        if self.size >= self._checkpoint:
            self.keep()

    def keep(self) -> None:
        """Sync what is there and tell the journal."""
        os.fsync(self._file.fileno())
        self._journal.note(
            self._path,
            **asdict(self.origin),
            kept=self.size,
            kept_sha256=self.hex("sha256"),
            boot=_boot(),
        )
        self._checkpoint = self.size + _CHECKPOINT

    def reset(self) -> None:
        """Begin anew."""
        self._journal.forget(self._path)
        self._file.seek(0)
        self._file.truncate(0)
        self.origin = Origin(self.origin.address)
        self.size = 0
        self._hashes = self._new_hashes()
        self._checkpoint = _FIRST_CHECKPOINT
        self._on_size(0)

    def hex(self, algorithm: str) -> str:
        """The digest of the bytes so far: sha256, md5 or sha1."""
        return str(self._hashes[algorithm].hexdigest())

    def head(self, count: int) -> bytes:
        """The first bytes."""
        return os.pread(self._file.fileno(), count, 0)

    def sync(self) -> None:
        """All bytes are on the disk when this returns."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def remove(self) -> None:
        """Give the bytes up."""
        self._file.close()
        self._journal.forget(self._path)
        self.place.unlink(missing_ok=True)

    def _take_up(self, state: Mapping[str, Any]) -> bool:
        """Hash what lies there; whether it is of the same origin and as the journal says."""
        kept = state.get("kept")
        if not isinstance(kept, int) or state.get("address") != self.origin.address:
            return False
        self._hash(kept)
        if self.size != kept or self.hex("sha256") != state.get("kept_sha256"):
            return False
        if state.get("boot") == _boot():
            self._hash(None)
        self._file.truncate(self.size)
        self._file.seek(self.size)
        told = {key: state.get(key) for key in ("etag", "modified", "total")}
        self.origin = Origin(self.origin.address, **told)
        self._checkpoint = self.size + _CHECKPOINT
        self._on_size(self.size)
        return True

    def _new_hashes(self) -> dict[str, Any]:
        return {name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms}

    def _hash(self, end: int | None) -> None:
        while piece := self._file.read(_PIECE if end is None else min(_PIECE, end - self.size)):
            for each in self._hashes.values():
                each.update(piece)
            self.size += len(piece)


def _boot() -> str:
    """What changes when the machine starts anew; empty where nothing tells, which is no reason to trust."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return os.urandom(8).hex()
