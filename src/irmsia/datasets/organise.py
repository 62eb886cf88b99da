"""Organises records: labelled or not, and of which region, modality and kind of anomaly, each with who says so.

Order of trust: what a person corrected, the file's header, the names it stands under, its pixels. Pure functions over
records; `irmsia.app.data_organise` joins them with the catalogue and the decoder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from irmsia.datasets.anomalies import NORMAL, OTHER_ANOMALY, anomaly_of
from irmsia.datasets.evidence import (
    DATASET_NAME,
    UNKNOWN,
    WORDS,
    Evidence,
    Place,
    header_says,
    names_say,
    pixels_say,
    places_of,
    with_header,
)
from irmsia.datasets.field_corrections import AUTO, Correction, Corrector, is_corrected
from irmsia.datasets.fingerprint import Guess
from irmsia.datasets.masks import MASK
from irmsia.datasets.record import LabelSource, Record, Told

LookAt = Callable[[Record], Guess | None]
"""Gives the fingerprint's answer for a record's picture; null where nobody looked."""

CONFLICT_CONFIDENCE = 0.7
"""A word that says otherwise is listed from this confidence on."""

_VAGUE = 0.6
_BY_NAME = 0.7
_BY_MASK = 0.9
_LESION_UNNAMED = 0.7


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two sources say different things of a field of one file. ``taken`` won."""

    path: str
    field: str
    taken: Told
    against: Told


@dataclass(frozen=True, slots=True)
class Organised:
    """Records with region, modality and anomaly filled in, and what a person should look at.

    Attributes:
        records: in the order given, every field but these three as it was.
        conflicts: where header, names, pixels or a correction disagree.
        unknown_labels: labels no word of which means an anomaly, with their counts.
        unused: corrections that fit no file.
    """

    records: tuple[Record, ...]
    conflicts: tuple[Conflict, ...]
    unknown_labels: Mapping[str, int]
    unused: tuple[Correction, ...]


def organise(
    records: Sequence[Record],
    *,
    titles: Sequence[str] = (),
    corrections: Sequence[Correction] = (),
    look_at: LookAt = lambda record: None,
) -> Organised:
    """Tell region, modality and anomaly of every record.

    Args:
        records: of one dataset. A correction that an earlier call kept in them holds until another one or ``auto``.
        titles: names that hold for all of them: the dataset's, its folder's.
        corrections: of several of one field and file the last one holds.
        look_at: the fingerprint's answer.
    """
    corrector = Corrector(corrections)
    organised: list[Record] = []
    conflicts: list[Conflict] = []
    for record in records:
        if record.problem == MASK:  # no sample, it is told with its image
            organised.append(record)
            continue
        places, said = places_of(record, titles), corrector.of(record.path)
        guess, modality = look_at(record), header_says(record, "modality")
        told: dict[str, Told] = {}
        for field in WORDS:
            pixels = pixels_say(field, guess, modality)
            evidence = Evidence(header_says(record, field), names_say(field, places), pixels)
            told[field] = _told(record, field, evidence, said.get(field))
            against = evidence.against(told[field], least=CONFLICT_CONFIDENCE)
            conflicts.extend(Conflict(record.path, field, told[field], other) for other in against)
        anomaly = _anomaly(record, places, said.get("anomaly"))
        organised.append(replace(record, region=told["region"], modality=told["modality"], anomaly=anomaly))
    return Organised(tuple(organised), tuple(conflicts), _unknown_labels(organised), tuple(corrector.unused()))


def needs_pixels(record: Record, titles: Sequence[str] = (), corrections: Corrector | None = None) -> bool:
    """Whether neither a person nor the header nor a name tells both region and modality of a readable image."""
    if not record.is_valid:
        return False
    said = corrections.of(record.path) if corrections is not None else {}
    places = places_of(record, titles)
    return any(
        not _kept(record, field, said.get(field))
        and Evidence(header_says(record, field), names_say(field, places)).best() is None
        for field in WORDS
    )


def is_labelled(record: Record) -> bool:
    """Whether it can be learnt from with a class: a readable image with a label."""
    return record.is_valid and record.label is not None


def is_unlabelled(record: Record) -> bool:
    """Whether it can be learnt from without a class."""
    return record.is_valid and record.label is None


def labelled_share(records: Sequence[Record]) -> float:
    """Of the readable images, 0..1; 0 where there is none."""
    valid = sum(record.is_valid for record in records)
    return sum(map(is_labelled, records)) / valid if valid else 0.0


def _told(record: Record, field: str, evidence: Evidence, correction: Correction | None) -> Told:
    kept = _kept(record, field, correction)
    told = kept or evidence.best() or UNKNOWN[field]
    return with_header(told, evidence.header)


def _kept(record: Record, field: str, correction: Correction | None) -> Told | None:
    """What a person says, now or earlier; null where nobody does, or the correction was taken back."""
    if correction is not None:
        return None if correction.value == AUTO else Told(correction.value, correction.reason, 1.0)
    told: Told | None = getattr(record, field)
    return told if is_corrected(told) else None


def _anomaly(record: Record, places: Sequence[Place], correction: Correction | None) -> Told | None:
    """The kind of anomaly; null where nothing tells, which is not the same as normal.

    A dataset's name tells it only of files that are said to be abnormal: a set called pneumonia holds healthy ones too.
    """
    return (
        _kept(record, "anomaly", correction)
        or _anomaly_of_label(record, places)
        or _anomaly_of_mask(record, places)
        or _anomaly_of_names([place for place in places if place.what != DATASET_NAME])
    )


def _anomaly_of_label(record: Record, places: Sequence[Place]) -> Told | None:
    if record.label is None or record.label_source is LabelSource.MASK:
        return None
    told = anomaly_of(record.label)
    if told is None or told.value != OTHER_ANOMALY or told.confidence > _VAGUE:
        return told
    # "yes", "positive", "abnormal": of what, the names around it may know.
    named = _anomaly_of_names(places)
    if named is None or named.value in (NORMAL, OTHER_ANOMALY):
        return told
    return Told(named.value, f"{told.reason}, {named.reason}", named.confidence)


def _anomaly_of_mask(record: Record, places: Sequence[Place]) -> Told | None:
    if record.mask_empty is None:
        return None
    if record.mask_empty:
        return Told(NORMAL, "its mask is empty", _BY_MASK)
    named = _anomaly_of_names(places)
    if named is None or named.value == NORMAL:
        return Told(OTHER_ANOMALY, "it has a lesion mask", _LESION_UNNAMED)
    return Told(named.value, f"it has a lesion mask, {named.reason}", _BY_MASK)


def _anomaly_of_names(places: Sequence[Place]) -> Told | None:
    """The nearest name with a word that is not vague."""
    for place in places:
        told = anomaly_of(place.name, place.what)
        if told is not None and told.confidence > _VAGUE:
            return replace(told, confidence=min(told.confidence, _BY_NAME))
    return None


def _unknown_labels(records: Sequence[Record]) -> dict[str, int]:
    unknown = (record.label for record in records if is_labelled(record) and record.anomaly is None)
    return dict(Counter(label for label in unknown if label is not None).most_common())
