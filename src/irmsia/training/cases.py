"""Cases: preprocessed tensors with their truth, made once and kept as memory-mapped files.

Preprocessing is the bundle's own (`irmsia.imaging.preprocess`), applied once an image; what is random happens later, on
the batch, in torch.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from irmsia import durable

LESION_STRIDE = 8
"""Tensor pixels a cell of the lesion maps."""

_TABLE = "table.json"
_TENSORS = "tensors.npy"
_LESIONS = "lesions.npy"


@dataclass(frozen=True, slots=True)
class CaseRow:
    """What is known of one case besides its pixels.

    Attributes:
        name: path below the data folder, or the phantom's name.
        region: label group.
        term: its label.
        part: train, validation or test.
        group: ``source|patient or cluster``.
        file_sha256: of the file's bytes.
        frame_sha256: of the frame that was preprocessed.
        has_lesion: whether the lesion map is known truth (an empty map then means: no lesion).
    """

    name: str
    region: str
    term: str
    part: str
    group: str
    file_sha256: str
    frame_sha256: str
    has_lesion: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One case with its pixels: tensor (1, S, S) float32, lesion (S / 8, S / 8) float32 0..1."""

    row: CaseRow
    tensor: NDArray[np.float32]
    lesion: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cases:
    """All cases of a training.

    Attributes:
        rows: what is known of each.
        tensors: (n, S, S) float16, memory-mapped.
        lesions: (n, S / 8, S / 8) uint8, 255 = all of the cell is lesion, memory-mapped.
    """

    rows: tuple[CaseRow, ...]
    tensors: NDArray[np.float16]
    lesions: NDArray[np.uint8]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open what `write_cases` wrote; the pixels stay on disk until used.

        Raises:
            FileNotFoundError: the folder holds no whole set.
        """
        rows = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
        return cls(
            rows=tuple(CaseRow(**row) for row in rows),
            tensors=np.load(folder / _TENSORS, mmap_mode="r"),
            lesions=np.load(folder / _LESIONS, mmap_mode="r"),
        )

    def indices(self, part: str, region: str | None = None, term: str | None = None) -> NDArray[np.int64]:
        """Return the indices of a part, of one region and term where told."""
        return np.array(
            [
                index
                for index, row in enumerate(self.rows)
                if row.part == part and region in (None, row.region) and term in (None, row.term)
            ],
            dtype=np.int64,
        )


def write_cases(folder: Path, cases: Iterable[Case], *, count: int, size: int) -> None:
    """Write ``count`` cases of side ``size``; the table comes last, so a broken-off folder is never loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _TABLE).unlink(missing_ok=True)
    side = size // LESION_STRIDE
    tensors = np.lib.format.open_memmap(folder / _TENSORS, mode="w+", dtype=np.float16, shape=(count, size, size))
    lesions = np.lib.format.open_memmap(folder / _LESIONS, mode="w+", dtype=np.uint8, shape=(count, side, side))
    rows: list[CaseRow] = []
    for index, case in enumerate(cases):
        tensors[index] = case.tensor[0]
        lesions[index] = np.round(case.lesion * 255)
        rows.append(case.row)
    tensors.flush()
    lesions.flush()
    _write_table(folder / _TABLE, rows)


def _write_table(path: Path, rows: Sequence[CaseRow]) -> None:
    table = [{name: getattr(row, name) for name in CaseRow.__dataclass_fields__} for row in rows]
    durable.write_text(path, json.dumps(table, indent=0))
