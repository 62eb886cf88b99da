"""Compiled networks kept between starts. What is not whole, not ours or not for this processor is thrown away.

A library's own cache is read by path and trusted; here the bytes that were checked are the bytes that are used. One
file an entry: keyed digest (32 bytes), digest of the probe's outputs (32 bytes), then what the runtime exported.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from irmsia import durable
from irmsia.bundles.machine import MachineSeal
from irmsia.telemetry import get_logger, log_event

_DIGEST = 32
_HEADER = 2 * _DIGEST
_SUFFIX = ".compiled"
_LEFTOVER_S = 3600.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """``blob``: as exported. ``probe``: SHA-256 of what the network answered to the probe when it was kept."""

    blob: bytes
    probe: bytes


class CompiledCache:
    """Entries by key in one folder of mode 0700.

    It never fails its caller: what cannot be read, written or trusted is as if it were not there, and logged.

    Args:
        folder: made when it is absent.
        seal: gives the keyed digest; asked for once, when the cache is first used.
        most_bytes: the oldest entries go when all together are larger.
    """

    def __init__(self, folder: Path, seal: Callable[[], MachineSeal], *, most_bytes: int) -> None:
        self._folder = folder
        self._make_seal = seal
        self._seal: MachineSeal | None = None
        self._most = most_bytes

    def load(self, key: str) -> Entry | None:
        """The entry of ``key``, whole and made by this machine; null otherwise."""
        entry: Entry | None = None
        with _logged("compiled network not read"), contextlib.suppress(FileNotFoundError):
            if self._is_safe():
                entry = self._open(key, _read_own(self._path(key), self._most))
                if entry is None:
                    self.drop(key, "not made here, or not whole")
        return entry

    def save(self, key: str, make: Callable[[Path], bytes | None], probe: bytes) -> None:
        """Keep what ``make`` gives for a scratch folder (null: nothing is kept)."""
        with _logged("compiled network not kept"):
            if not self._is_safe(make=True):
                return
            self._sweep()
            blob = make(self._folder)
            if blob is not None and _HEADER + len(blob) <= self._most:
                self._make_room(_HEADER + len(blob))
                durable.write_bytes(self._path(key), self._sealed(key, Entry(blob, probe)), mode=0o600)

    def drop(self, key: str, reason: str) -> None:
        """Remove an entry that turned out to be of no use."""
        log_event(_log, logging.WARNING, "compiled network thrown away", reason=reason)
        with _logged("compiled network not removed"):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}{_SUFFIX}"

    def _sealed(self, key: str, entry: Entry) -> bytes:
        return self._keyed().digest(key.encode(), entry.probe, entry.blob) + entry.probe + entry.blob

    def _open(self, key: str, data: bytes) -> Entry | None:
        digest, probe, blob = data[:_DIGEST], data[_DIGEST:_HEADER], data[_HEADER:]
        return Entry(blob, probe) if self._keyed().fits(digest, key.encode(), probe, blob) else None

    def _keyed(self) -> MachineSeal:
        if self._seal is None:
            self._seal = self._make_seal()
        return self._seal

    def _is_safe(self, *, make: bool = False) -> bool:
        """Whether the folder is a folder of this user; modes that let others in are put right."""
        if make:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            found = self._folder.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(found.st_mode) or not _is_mine(found):
            log_event(_log, logging.WARNING, "compiled networks not used", reason="their folder is not this user's")
            return False
        if found.st_mode & 0o077:
            self._folder.chmod(0o700)
        return True

    def _make_room(self, size: int) -> None:
        entries = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.lstat().st_mtime)
        left = sum(path.lstat().st_size for path in entries)
        for path in entries:
            if left + size <= self._most:
                return
            left -= path.lstat().st_size
            path.unlink()

    def _sweep(self) -> None:
        """Remove what a killed process left half written; what another one writes now is younger."""
        for path in [*self._folder.glob("*.tmp"), *self._folder.glob(".*.tmp")]:
            if abs(time.time() - path.lstat().st_mtime) > _LEFTOVER_S:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _read_own(path: Path, most_bytes: int) -> bytes:
    """The file's bytes, or nothing where others may write it, it is no plain file or too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        plain = stat.S_ISREG(found.st_mode) and _is_mine(found) and not found.st_mode & 0o022
        return file.read() if plain and found.st_size <= most_bytes else b""


def _is_mine(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


@contextlib.contextmanager
def _logged(event: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - edge: a cache that fails costs time, never an answer
        log_event(_log, logging.INFO, event, error=type(error).__name__)
