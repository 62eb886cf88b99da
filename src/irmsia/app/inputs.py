"""From the paths on a command line to the files that are answered, in the order of contract section 4."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

_SKIPPED_CODES = {"NOT_AN_IMAGE": "not an image", "NO_PIXEL_DATA": "without pixels"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to answer. ``name`` is what the answer calls it; ``walked``: found in a directory, not named."""

    name: str
    path: Path
    walked: bool = False


@dataclass(slots=True)
class Skipped:
    """What a walk left out, by kind. Skipping never changes the exit code. ``kept``: files that `takes` left."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: int = 0

    def takes(self, file: InputFile, code: str | None) -> bool:
        """Whether a file with error ``code`` is skipped rather than failed: only in a walk; counts it if so."""
        kind = _SKIPPED_CODES.get(code or "")
        if not file.walked or kind is None:
            self.kept += 1
            return False
        self.counts[kind] += 1
        return True

    def sentence(self) -> str | None:
        """``skipped 3 files: 2 hidden, 1 mask``; that there was no image; or None when nothing was skipped."""
        total = self.counts.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted((+self.counts).items()))
        parts = [
            *(["found no image"] if not self.kept else []),
            *([f"skipped {total} file{'s' if total > 1 else ''}: {kinds}"] if total else []),
        ]
        return "; ".join(parts) or None


def list_inputs(paths: Sequence[str], skipped: Skipped) -> list[InputFile]:
    """Return the files of ``paths`` in the order given, directories walked and sorted by path.

    A path that names no directory is kept as it is, there or not: a file named is always answered or failed.
    """
    files: list[InputFile] = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long or a folder is closed
            files.extend(_walk(Path(path), skipped))
        else:
            files.append(InputFile(_text(path), Path(path)))
    return files


def _walk(root: Path, skipped: Skipped) -> Iterator[InputFile]:
    """Files below ``root`` but hidden ones, masks and what is no regular file. A folder that cannot be listed fails."""
    unreadable: list[Path] = []
    found: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=lambda error: unreadable.append(Path(error.filename))):
        skipped.counts["hidden"] += _drop_hidden(folders) + _drop_hidden(names)
        found.extend(Path(folder, name) for name in names)
    for path in sorted([*found, *unreadable]):
        if path in unreadable or _is_wanted(path, skipped):
            yield InputFile(_text(str(path)), path, walked=True)


def _drop_hidden(names: list[str]) -> int:
    hidden = [name for name in names if name.startswith(".")]
    names[:] = [name for name in names if not name.startswith(".")]
    return len(hidden)


def _is_wanted(path: Path, skipped: Skipped) -> bool:
    if fnmatch(path.name, "*_mask*"):
        skipped.counts["mask"] += 1
        return False
    try:
        regular = path.is_file()
    except OSError:  # in a folder that may be listed but not entered: it fails as an input, and is not skipped
        return True
    if not regular:
        skipped.counts["not a regular file"] += 1
    return regular


def _text(path: str) -> str:
    """A name that every wire can carry: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")
