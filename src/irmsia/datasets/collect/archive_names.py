"""Names and sizes of what an archive holds, judged one after the other before anything is written (safety line I8)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Self

from irmsia.errors import ArchiveRejectedError, LimitExceededError
from irmsia.settings.tree import CollectSettings

_LONGEST_PART, _LONGEST_PATH, _DEEPEST = 255, 1024, 64
_SMALL_BYTES = 64 * 1024 * 1024
"""An archive that unpacks to less may be packed as well as it likes: an empty mask shrinks a thousandfold."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one archive may become: bytes, entries, unpacked bytes per packed byte."""

    bytes: int
    entries: int
    ratio: float

    @classmethod
    def of(cls, settings: CollectSettings) -> Self:
        """As the settings say."""
        return cls(settings.archive_bytes, settings.archive_entries, settings.archive_ratio)

    def check_bytes(self, unpacked: int, packed: int) -> None:
        """Raises LimitExceededError where so many bytes are too many of so many packed ones."""
        if unpacked > self.bytes:
            raise LimitExceededError(f"the archive unpacks to more than {self.bytes} bytes")
        if unpacked > _SMALL_BYTES and unpacked > self.ratio * packed:
            raise LimitExceededError(f"the archive unpacks to more than {self.ratio:g} times its size")


class NameBook:
    """The names of one archive so far. Only digests are kept, so that a million entries take little memory."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._files: set[int] = set()
        self._folders: dict[int, int] = {}

    def enter(self, name: str, *, is_folder: bool) -> str:
        """The path of an entry below the root, forward slashes; "" for the root itself.

        Raises:
            ArchiveRejectedError: it leads outside, is no plain name, or equals one before (without case).
            LimitExceededError: more files and folders than allowed.
        """
        parts = _split(name)
        if not parts and not is_folder:
            raise ArchiveRejectedError("the archive holds a file without a name")
        folders = parts if is_folder else parts[:-1]
        for depth in range(1, len(folders) + 1):
            self._enter_folder("/".join(folders[:depth]))
        path = "/".join(parts)
        if not is_folder:
            self._enter_file(path)
        if len(self._files) + len(self._folders) > self._limits.entries:
            raise LimitExceededError(f"the archive holds more than {self._limits.entries} entries")
        return path

    def _enter_file(self, path: str) -> None:
        key = _key(_folded(path))
        if key in self._files or key in self._folders:
            raise ArchiveRejectedError("the archive holds two entries of one name (capitals do not count)")
        self._files.add(key)

    def _enter_folder(self, path: str) -> None:
        key, spelling = _key(_folded(path)), _key(path)
        if key in self._files or self._folders.setdefault(key, spelling) != spelling:
            raise ArchiveRejectedError("the archive holds two entries of one name (capitals do not count)")


def _split(name: str) -> list[str]:
    """The parts of a name; a leading ``./`` and doubled slashes dropped."""
    if (
        name.startswith("/")
        or re.match(r"[A-Za-z]:", name)
        or re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", name)
        or len(name.encode("utf-8", "replace")) > _LONGEST_PATH
    ):
        raise ArchiveRejectedError("the archive holds an entry whose name is no path below a folder")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > _DEEPEST or any(len(part.encode()) > _LONGEST_PART for part in parts):
        raise ArchiveRejectedError("the archive holds an entry whose name is no path below a folder")
    return parts


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
