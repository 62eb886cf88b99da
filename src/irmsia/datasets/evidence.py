"""What says of which region and modality a file is: its header, the names it stands under, its pixels."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources

from irmsia.datasets.fingerprint import Guess
from irmsia.datasets.phrases import Found, Meaning, Phrases
from irmsia.datasets.record import Record, Told

REGIONS = ("brain", "chest", "breast", "abdomen", "bone", "cardiac", "other")
MODALITIES = ("MRI", "CT", "X-RAY", "ULTRASOUND", "MAMMOGRAPHY", "OTHER")
WORDS = {"region": REGIONS, "modality": MODALITIES}
UNKNOWN = {"region": Told("other", "nothing tells it", 0.0), "modality": Told("OTHER", "nothing tells it", 0.0)}

DATASET_NAME = "dataset name"
PIXELS = "pixel fingerprint"
_HEADER = "DICOM"
_SAID = " said "
_MIXES_WELL = ({"cardiac", "chest"}, {"bone", "chest"}, {"bone", "brain"}, {"X-RAY", "MAMMOGRAPHY"})
"""Values that are both true of one file: a heart in a chest image, a skull, a mammogram (which is made by X-rays)."""
_NARROWER = ("MAMMOGRAPHY", "cardiac")


@dataclass(frozen=True, slots=True)
class Place:
    """A name that a file stands under: ``what`` it is, for reasons, and the ``name`` itself."""

    what: str
    name: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that speaks of one field of one file, in the order of trust; each null or empty where it says nothing."""

    header: Told | None = None
    names: tuple[Told, ...] = ()
    pixels: Told | None = None

    def best(self) -> Told | None:
        """The most trusted word. A header that names a region for which we have no word yields to names."""
        named = next(iter(self.names), None)
        if self.header is not None and (named is None or self.header.value != UNKNOWN["region"].value):
            return self.header
        return named or self.pixels

    def against(self, taken: Told, *, least: float) -> list[Told]:
        """What says otherwise with a confidence of at least ``least``."""
        said = [told for told in (self.header, *self.names, self.pixels) if told is not None]
        return [told for told in said if told.confidence >= least and is_conflict(taken.value, told.value)]


def is_conflict(first: str, second: str) -> bool:
    """Whether two words of a field cannot both be true; "other" is the absence of an answer and contradicts none."""
    return first != second and {first, second}.isdisjoint(("other", "OTHER")) and {first, second} not in _MIXES_WELL


def places_of(record: Record, titles: Sequence[str] = ()) -> tuple[Place, ...]:
    """The names a file stands under, the nearest first: its own, its folders', its source's, its dataset's."""
    *folders, own = record.path.split("/")
    return (
        Place("file name", own),
        *(Place("folder name", folder) for folder in reversed(folders)),
        *(Place(DATASET_NAME, title) for title in dict.fromkeys((record.source, *titles)) if title),
    )


def header_says(record: Record, field: str) -> Told | None:
    """What the file's own header says, also where it was overruled: the reason then keeps what it said."""
    told: Told | None = getattr(record, field)
    if told is None:
        return None
    if told.reason.startswith(_HEADER):
        return told if told.value in WORDS[field] else replace(told, value=UNKNOWN[field].value)
    _, _, kept = told.reason.partition(f"; {_HEADER} ")
    attribute, said, value = kept.rpartition(_SAID)
    return Told(value, f"{_HEADER} {attribute}") if said and value in WORDS[field] else None


def with_header(told: Told, header: Told | None) -> Told:
    """The same word, its reason keeping what the header said instead."""
    if header is None or header == told or told.reason.startswith(_HEADER):
        return told
    reason, _, _ = told.reason.partition(f"; {_HEADER} ")
    return replace(told, reason=f"{reason}; {header.reason}{_SAID}{header.value}")


def names_say(field: str, places: Sequence[Place]) -> tuple[Told, ...]:
    """What names say of a field, the surest first, and of equally sure ones the nearest; each word once."""
    said = [told for place in places for told in _name_says(field, place)]
    surest: dict[str, Told] = {}
    for told in sorted(said, key=lambda told: -told.confidence):
        surest.setdefault(told.value, told)
    words = list(surest.values())
    narrow = [told for told in words if told.value in _NARROWER and not is_conflict(told.value, words[0].value)]
    return tuple(dict.fromkeys([*narrow, *words]))


def pixels_say(field: str, guess: Guess | None, modality: Told | None = None) -> Told | None:
    """What the fingerprint says; null where it is unsure.

    A look is of one modality: where the header names another ``modality``, its region counts for half.
    """
    if guess is None or guess.region == UNKNOWN["region"].value:
        return None
    if field == "modality":
        return Told(guess.modality, PIXELS, guess.modality_confidence)
    if modality is not None and is_conflict(modality.value, guess.modality):
        return Told(guess.region, f"{PIXELS} of another modality", guess.region_confidence / 2)
    return Told(guess.region, PIXELS, guess.region_confidence)


@lru_cache(maxsize=65536)
def _name_says(field: str, place: Place) -> tuple[Told, ...]:
    return tuple(_told(found, place) for found in _usable(_phrases(field).find(place.name)))


def _usable(found: Sequence[Found]) -> Iterator[Found]:
    return (one for one in found if not one.negated)


def _told(found: Found, place: Place) -> Told:
    return Told(found.meaning.value, f'{place.what} says "{found.meaning.phrase}"', found.meaning.confidence)


@cache
def _phrases(field: str) -> Phrases:
    text = resources.files(__package__).joinpath("name_words.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["field"] == field]
    if any(row["value"] not in WORDS[field] for row in rows):
        raise ValueError("the table of words in names has a value that its field does not know")
    return Phrases(
        Meaning(row["value"], phrase, float(row["confidence"])) for row in rows for phrase in row["phrases"].split("|")
    )
