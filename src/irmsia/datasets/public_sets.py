"""The public sets of medical images that are worth knowing: one row of ``public_sets.csv`` each.

Facts come from public references, named in each row's ``source_of_facts``; what no reference says stays empty. To add a
set, add a row; the rows of the Imaging Data Commons are made again by ``python -m benchmarks.public_sets``.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

from irmsia.errors import DatasetNotFoundError, InternalError, InvalidRequestError

MODALITIES = (
    "X-RAY", "CT", "MRI", "ULTRASOUND", "MAMMOGRAPHY", "PET", "NUCLEAR", "FLUOROSCOPY", "PATHOLOGY", "MICROSCOPY",
    "DERMOSCOPY", "FUNDUS", "OCT", "ENDOSCOPY", "OTHER",
)  # fmt: skip
REGIONS = (
    "brain", "head-neck", "eye", "chest", "breast", "cardiac", "abdomen", "pelvis", "spine", "bone", "skin",
    "whole-body", "other",
)  # fmt: skip
TASKS = ("classification", "segmentation", "detection", "regression", "report", "registration", "reconstruction")
FORMATS = ("DICOM", "NIFTI", "METAIMAGE", "NUMPY", "HDF5", "PNG", "JPEG", "TIFF", "BMP", "VIDEO", "CSV")
LABELS = ("expert", "pathology", "report", "text-mined", "automatic", "protocol")
ACCESSES = ("open", "registration", "credentialed")
LICENCES = (
    "CC0", "CC BY 3.0", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 3.0", "CC BY-NC 4.0", "CC BY-NC-SA 3.0",
    "CC BY-NC-SA 4.0", "CC BY-ND 4.0", "CC BY-NC-ND 4.0", "ODbL 1.0", "ODC-By 1.0", "Apache 2.0", "MIT", "GPL 2.0",
    "GPL 3.0", "PhysioNet Credentialed 1.5.0", "own terms",
)  # fmt: skip
SOURCES = ("idc", "tcia", "kaggle", "nih", "url", "page")
_SAME = {"MR": "MRI", "XRAY": "X-RAY", "CR": "X-RAY", "DX": "X-RAY", "US": "ULTRASOUND", "MG": "MAMMOGRAPHY",
         "PT": "PET", "SM": "PATHOLOGY", "HEART": "CARDIAC", "LUNG": "CHEST", "HEAD": "BRAIN"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One set. A field that no reference gives is empty, or null where it is a number.

    Attributes:
        id: unique word of this catalogue.
        name: as its makers write it.
        recommended: 1..10 for the sets to begin with, else null.
        modality, region, task, format, licence: words of the lists above; several where the set has several.
        images: how many; of what says ``unit`` (images, volumes, cases, DICOM files ...).
        patients: how many people (or animals, where the notes say so).
        size_gb: of the download, 10^9 bytes.
        access: open, registration (an account, a form, rules to accept), credentialed (training and a contract).
        source: which source of `irmsia data get` brings it; ``page``: none, its page says how.
        get: the id at that source; empty for ``page``.
        page: address to read before use: conditions, description.
        labels: by whom or what: expert, pathology, report, text-mined, automatic, protocol.
        notes: what to know of its quality.
        use: what it is recommended for.
        reference: who to cite, short.
        source_of_facts: where this row's figures were read.
    """

    id: str
    name: str
    recommended: int | None
    modality: tuple[str, ...]
    region: tuple[str, ...]
    task: tuple[str, ...]
    format: tuple[str, ...]
    images: int | None
    unit: str
    patients: int | None
    size_gb: float | None
    licence: tuple[str, ...]
    access: str
    source: str
    get: str
    page: str
    labels: tuple[str, ...]
    notes: str
    use: str
    reference: str
    source_of_facts: str

    @property
    def command(self) -> str | None:
        """What brings it here; null where only its page does."""
        return None if self.source == "page" else f"irmsia data get {self.source} {shlex.quote(self.get)}"

    @property
    def stars(self) -> int:
        """0..5, one each: licence known; number of images and of patients; labels not mined or made by software;
        kept in a medical format; fetched by a command. How well the set is known here, no mark for its images.
        """
        by_people = bool(self.labels) and not {"text-mined", "automatic"} & set(self.labels)
        return sum((
            bool(self.licence),
            self.images is not None and self.patients is not None,
            by_people,
            bool({"DICOM", "NIFTI", "METAIMAGE"} & set(self.format)),
            self.source != "page",
        ))  # fmt: skip


COLUMNS = tuple(field.name for field in fields(PublicSet))
_MANY: Mapping[str, tuple[str, ...]] = {
    "modality": MODALITIES, "region": REGIONS, "task": TASKS, "format": FORMATS, "licence": LICENCES, "labels": LABELS,
}  # fmt: skip
_ONE: Mapping[str, tuple[str, ...]] = {"access": (*ACCESSES, ""), "source": SOURCES}


@cache
def list_public_sets() -> tuple[PublicSet, ...]:
    """All sets: the ten recommended ones in their order, then the others by id."""
    text = resources.files(__package__).joinpath("public_sets.csv").read_text(encoding="utf-8")
    return parse_public_sets(csv.DictReader(text.splitlines()))


def parse_public_sets(rows: Iterable[Mapping[str, str]]) -> tuple[PublicSet, ...]:
    """The sets of the table's rows, in order; `InternalError` for a double id, an unknown word or a bad number."""
    sets: dict[str, PublicSet] = {}
    for row in rows:
        found = _parse(row)
        if found.id in sets:
            raise InternalError(f"the catalogue of public sets names {found.id!r} twice")
        sets[found.id] = found
    return tuple(sets.values())


def _parse(row: Mapping[str, str]) -> PublicSet:
    if tuple(row) != COLUMNS or None in row.values():
        raise InternalError(f"a row of the catalogue of public sets has other columns than {', '.join(COLUMNS)}")
    values: dict[str, object] = dict(row)
    for column, words in _MANY.items():
        values[column] = tuple(_word(row, column, word, words) for word in row[column].split("|") if word)
    for column, words in _ONE.items():
        _word(row, column, row[column], words)
    for column in ("recommended", "images", "patients"):
        values[column] = int(row[column]) if row[column] else None
    values["size_gb"] = float(row["size_gb"]) if row["size_gb"] else None
    return PublicSet(**values)  # type: ignore[arg-type]


def _word(row: Mapping[str, str], column: str, word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise InternalError(f"{column} of the public set {row['id']!r} must be one of {words}, got {word!r}")
    return word


def get_public_set(identity: str) -> PublicSet:
    """The set of that id, capitals aside; `DatasetNotFoundError` where the catalogue has none."""
    wanted = identity.casefold()
    for found in list_public_sets():
        if wanted in (found.id, found.name.casefold()):
            return found
    near = [found.id for found in list_public_sets() if wanted and wanted in found.id]
    hint = f"; near: {', '.join(near[:5])}" if near else "; `irmsia data sources --search TEXT` finds ids"
    raise DatasetNotFoundError(f"the catalogue of public sets has no {identity!r}{hint}")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which sets are wanted; an empty field asks nothing. Words are compared without regard to capitals.

    Attributes:
        modality, region, task, access: a word of the lists above (``MR``, ``lung`` and the like are understood).
        licence: its beginning, in whole words: ``CC BY`` takes CC BY 3.0 and 4.0, but not CC BY-NC.
        text: all its words stand somewhere in the row.
        recommended: only the ten to begin with.
    """

    modality: str = ""
    region: str = ""
    task: str = ""
    licence: str = ""
    access: str = ""
    text: str = ""
    recommended: bool = False


def find_public_sets(choice: Choice) -> tuple[PublicSet, ...]:
    """The sets that fit all of the choice, in the catalogue's order.

    Raises:
        InvalidRequestError: a word that its list does not have.
    """
    modality = _known(choice.modality, MODALITIES, "modality")
    region = _known(choice.region, REGIONS, "region")
    task = _known(choice.task, TASKS, "task")
    access = _known(choice.access, ACCESSES, "access")
    licence = choice.licence.casefold().strip()
    if licence and not any(_begins(known, licence) for known in LICENCES):
        raise InvalidRequestError(f"no licence of the catalogue begins with {choice.licence!r}: {', '.join(LICENCES)}")
    return tuple(
        found
        for found in list_public_sets()
        if (not modality or modality in found.modality)
        and (not region or region in found.region)
        and (not task or task in found.task)
        and (not access or access == found.access)
        and (not licence or any(_begins(known, licence) for known in found.licence))
        and (not choice.recommended or found.recommended is not None)
        and _has_words(found, choice.text)
    )


def _known(word: str, words: tuple[str, ...], what: str) -> str:
    """The list's spelling of a word; empty stays empty."""
    if not word.strip():
        return ""
    folded = word.strip().upper()
    for known in words:
        if known.upper() in (folded, _SAME.get(folded, "")):
            return known
    raise InvalidRequestError(f"{word!r} is no {what} of the catalogue: {', '.join(words)}")


def _begins(licence: str, wanted: str) -> bool:
    return f"{licence.casefold()} ".startswith(f"{wanted} ")


def _has_words(found: PublicSet, text: str) -> bool:
    words = text.casefold().split()
    row = " ".join(str(getattr(found, column)) for column in COLUMNS).casefold() if words else ""
    return all(word in row for word in words)
