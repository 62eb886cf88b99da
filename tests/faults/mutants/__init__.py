"""Structure-aware mutants of image files. One is made again from the campaign's seed and its number alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.mutants.dicom import mutate_dicom
from tests.faults.mutants.jpeg import mutate_jpeg
from tests.faults.mutants.nifti import mutate_nifti
from tests.faults.mutants.png import mutate_png
from tests.faults.mutants.raw import mutate_bytes, splice
from tests.faults.mutants.seeds import FORMATS, Corpus, Seed, make_corpus, read_corpus
from tests.faults.mutants.tiff import mutate_tiff

__all__ = ["FORMATS", "TURNS", "Corpus", "Mutant", "Seed", "make_corpus", "make_mutant", "read_corpus"]

_BY_FORMAT = {
    "DICOM": mutate_dicom,
    "PNG": mutate_png,
    "JPEG": mutate_jpeg,
    "TIFF": mutate_tiff,
    "NIFTI": mutate_nifti,
}
TURNS = ("DICOM", "PNG", "DICOM", "JPEG", "TIFF", "DICOM", "NIFTI")
"""Which format's turn it is; DICOM has the most places to go wrong."""

_RAW_SHARE, _SPLICE_SHARE, _AFTER_SHARE = 0.12, 0.03, 0.1


@dataclass(frozen=True)
class Mutant:
    """The ``number``-th of a campaign, of which file, by which changes."""

    number: int
    format: str
    origin: str
    changes: str
    data: bytes


def make_mutant(corpus: Corpus, seed: int, number: int, turns: Sequence[str] = TURNS) -> Mutant:
    """The same bytes for the same arguments, on every machine."""
    rng = random.Random(f"irmsia mutant {seed} {number}")
    kind = turns[number % len(turns)]
    origin = rng.choice(corpus[kind])
    data, changes = _changed(rng, corpus, kind, origin)
    if rng.random() < _AFTER_SHARE:
        data, after = mutate_bytes(rng, data)
        changes = f"{changes}+{after}"
    return Mutant(number, kind, origin.name, changes, data)


def _changed(rng: random.Random, corpus: Corpus, kind: str, origin: Seed) -> tuple[bytes, str]:
    share = rng.random()
    if share < _SPLICE_SHARE:
        other = rng.choice(corpus[rng.choice(list(corpus))])
        return splice(rng, origin.data, other.data), "splice"
    if share < _SPLICE_SHARE + _RAW_SHARE:
        return mutate_bytes(rng, origin.data)
    return _BY_FORMAT[kind](rng, origin.data)
