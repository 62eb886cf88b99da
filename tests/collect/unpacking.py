"""Unpacks hostile archives in a folder with something to lose, and counts what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from irmsia.datasets.collect.extract import unpack
from irmsia.errors import IrmsiaError
from tests.collect.hostile_archives import LIMITS, Hostile
from tests.collect.wanting import tree


@dataclass
class Rejections:
    """``wrong``: trick -> what happened instead. ``changed``: tricks after which something outside was another."""

    rejected: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


def rejections(archives: Sequence[Hostile], folder: Path) -> Rejections:
    """Try to unpack each into ``folder/root/out``; everything else in ``folder`` must stay as it is."""
    found = Rejections()
    root = folder / "root"
    root.mkdir(parents=True)
    (folder / "outside").write_bytes(b"precious")
    (root / "beside").write_bytes(b"precious")
    for hostile in archives:
        archive = root / "archive"
        archive.write_bytes(hostile.make())
        before = tree(folder)
        said = _unpack(archive, root / "out", hostile)
        if said is not None:
            found.wrong[hostile.trick] = said
        else:
            found.rejected += 1
        if tree(folder) != before or (root / "out").exists():
            found.changed.append(hostile.trick)
    return found


def _unpack(archive: Path, out: Path, hostile: Hostile) -> str | None:
    """Null where it ended as it should."""
    try:
        made = unpack(archive, out, LIMITS)
    except IrmsiaError as error:
        return None if isinstance(error, hostile.errors) else f"{error.code} {error.message}"
    return f"{made.files} files"
