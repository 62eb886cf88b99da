"""What a download has done so far, so that it goes on where it was: one line a step, on the disk before the next one.

``TARGET/.irmsia-download/`` holds the journal, the parts of files and folders that are being unpacked. It is there only
while something is unfinished. No address is kept, only its digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from irmsia import durable
from irmsia.datasets.collect.lines import LineFile
from irmsia.errors import InvalidRequestError

FOLDER = ".irmsia-download"
_JOURNAL, _LOCK = "journal.jsonl", "lock"


class Journal:
    """The journal of one target folder, held by one process at a time. Safe between threads.

    Raises:
        InvalidRequestError: another process downloads into the folder.
        OSError: what the file system says.
    """

    def __init__(self, target: Path) -> None:
        self.folder = target / FOLDER
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, Any]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held = _hold(self.folder / _LOCK)
        try:
            self._file = LineFile(self.folder / _JOURNAL)
            for line in self._file.lines:
                self._take(line)
        except BaseException:
            os.close(self._held)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()

    def state(self, path: str) -> Mapping[str, Any]:
        """What is known of the file ``path``: the fields of all its lines since the last `forget`."""
        with self._lock:
            return dict(self._states.get(path, {}))

    def note(self, path: str, **fields: Any) -> None:
        """Add what is known of a file; on the disk when this returns."""
        with self._lock:
            self._file.append({"path": path, **fields})
            self._states.setdefault(path, {}).update(fields)

    def forget(self, path: str) -> None:
        """The file is begun anew, or done."""
        with self._lock:
            if path in self._states:
                self._file.append({"path": path, "forget": True})
                del self._states[path]

    def part(self, path: str) -> Path:
        """Where the file ``path`` grows."""
        return self.folder / f"{_name(path)}.part"

    def workshop(self, path: str) -> Path:
        """Where the archive ``path`` is unpacked."""
        return self.folder / f"{_name(path)}.unpacking"

    def clear(self, wanted: frozenset[str]) -> None:
        """Remove what a killed process left, and the parts of files that are not ``wanted`` any more."""
        for path in self._states.keys() - wanted:
            self.forget(path)
        kept = {self.part(path).name for path in wanted} | {_JOURNAL, _LOCK}
        for entry in list(self.folder.iterdir()):
            if entry.name not in kept:
                remove(entry)

    def replace(self, place: Path, parts: Iterable[bytes]) -> None:
        """Let ``place`` hold these bytes, as `irmsia.durable.write_parts`; a killed process leaves rests in here."""
        temporary = self.folder / f"{_name(place.name)}.new"
        durable.write_parts(temporary, parts)
        os.replace(temporary, place)
        durable.sync_directory(place.parent)

    def is_idle(self) -> bool:
        """Whether nothing unfinished lies in the folder."""
        return not self._states and all(entry.name in (_JOURNAL, _LOCK) for entry in self.folder.iterdir())

    def close(self) -> None:
        """Let another process have the folder; remove it where nothing is unfinished."""
        try:
            with contextlib.suppress(OSError):
                if self.is_idle():
                    shutil.rmtree(self.folder)
                    durable.sync_directory(self.folder.parent)
        finally:
            self._file.close()
            os.close(self._held)

    def _take(self, fields: dict[str, Any]) -> None:
        path = fields.pop("path", None)
        if fields.get("forget"):
            self._states.pop(path, None)
        elif isinstance(path, str):
            self._states.setdefault(path, {}).update(fields)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all it holds; a link itself, never what it names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hold(path: Path) -> int:
    """A descriptor that holds the lock until it is closed, or the process dies."""
    while True:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise InvalidRequestError("another download into this folder is under way") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it removed it meanwhile


def _name(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:40]
