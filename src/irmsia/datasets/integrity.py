"""Whether the files of a dataset are those that the catalogue knows, byte for byte."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from irmsia.datasets.record import Record
from irmsia.imaging.recognise import recognise

_HEAD_BYTES = 4096
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in a file's place must not stop the check


class Fault(StrEnum):
    """How a file differs from the catalogue."""

    MISSING = "MISSING"
    CHANGED = "CHANGED"
    UNREADABLE = "UNREADABLE"
    EXTRA = "EXTRA"


def check_file(root: Path, record: Record) -> Fault | None:
    """Compare size and SHA-256 of one file with its record; null: it is the file that was catalogued."""
    try:
        descriptor = os.open(root / record.path, _OPEN)
    except (FileNotFoundError, NotADirectoryError):
        return Fault.MISSING
    except OSError:
        return Fault.UNREADABLE
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != record.size:
            return Fault.CHANGED
        try:
            digest = hashlib.file_digest(file, "sha256")
        except OSError:
            return Fault.UNREADABLE
    return None if digest.hexdigest() == record.sha256 else Fault.CHANGED


def list_extra(root: Path, files: Iterable[str], known: set[str]) -> Iterator[str]:
    """Of the paths below ``root`` those that are images by content but not ``known``. What cannot be read is passed."""
    for path in files:
        if path not in known and _is_image(root / path):
            yield path


def _is_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return recognise(file.read(_HEAD_BYTES)) is not None
    except OSError:
        return False
