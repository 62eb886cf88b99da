"""Several answers together: counts and the most severe image, by study and series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from irmsia.findings.types import Decision, Diagnosis, Primary, Risk, Severity, Urgency


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images were answered how; ``failed`` ones have no decision."""

    total: int
    accept: int
    refer: int
    refuse: int
    failed: int


@dataclass(frozen=True, slots=True)
class MostSevere:
    """The image with the highest risk of those answered with ACCEPT or REFER; ``index`` among all, from 0."""

    index: int
    input: str | None
    sop_instance_uid: str | None
    decision: Decision | None
    primary: Primary | None
    severity: Severity | None
    risk: Risk | None
    urgency: Urgency | None


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """Images of one series, or those of a study that name none."""

    series_instance_uid: str | None
    modality: str | None
    counts: Counts
    most_severe: MostSevere | None


@dataclass(frozen=True, slots=True)
class StudySummary:
    """Images of one study, or all that name none."""

    study_instance_uid: str | None
    patient_pseudonym: str | None
    counts: Counts
    most_severe: MostSevere | None
    series: tuple[SeriesSummary, ...]


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """All images, and by study in the order of their first image."""

    counts: Counts
    studies: tuple[StudySummary, ...]


_Numbered = tuple[int, Diagnosis]


def summarise(answers: Iterable[Diagnosis]) -> BatchSummary:
    """Group ``answers``, given in the order of their images."""
    return summarise_numbered(enumerate(answers))


def summarise_numbered(answers: Iterable[_Numbered]) -> BatchSummary:
    """Group (index of the image, answer) pairs that come in any order."""
    ordered = sorted(answers, key=lambda pair: pair[0])
    return BatchSummary(
        counts=_counts(ordered),
        studies=tuple(_study(uid, items) for uid, items in _grouped(ordered, _study_uid)),
    )


def _study(uid: str | None, items: Sequence[_Numbered]) -> StudySummary:
    return StudySummary(
        study_instance_uid=uid,
        patient_pseudonym=_first(answer.source.patient_pseudonym if answer.source else None for _, answer in items),
        counts=_counts(items),
        most_severe=_most_severe(items),
        series=tuple(_series(uid, part) for uid, part in _grouped(items, _series_uid)),
    )


def _series(uid: str | None, items: Sequence[_Numbered]) -> SeriesSummary:
    modality = _first(answer.modality for _, answer in items)
    return SeriesSummary(uid, modality, counts=_counts(items), most_severe=_most_severe(items))


def _grouped(
    items: Sequence[_Numbered], key: Callable[[Diagnosis], str | None]
) -> Iterable[tuple[str | None, list[_Numbered]]]:
    groups: dict[str | None, list[_Numbered]] = {}
    for item in items:
        groups.setdefault(key(item[1]), []).append(item)
    return groups.items()


def _study_uid(answer: Diagnosis) -> str | None:
    return answer.source.study_instance_uid if answer.source else None


def _series_uid(answer: Diagnosis) -> str | None:
    return answer.source.series_instance_uid if answer.source else None


def _counts(items: Sequence[_Numbered]) -> Counts:
    decisions = [answer.decision for _, answer in items]
    return Counts(
        total=len(decisions),
        accept=decisions.count(Decision.ACCEPT),
        refer=decisions.count(Decision.REFER),
        refuse=decisions.count(Decision.REFUSE),
        failed=decisions.count(None),
    )


def _most_severe(items: Sequence[_Numbered]) -> MostSevere | None:
    rated = [(answer.risk.score, index, answer) for index, answer in items if answer.risk is not None]
    if not rated:
        return None
    _, index, answer = max(rated, key=lambda row: (row[0], -row[1]))
    return MostSevere(
        index=index,
        input=answer.input,
        sop_instance_uid=answer.source.sop_instance_uid if answer.source else None,
        decision=answer.decision,
        primary=answer.primary,
        severity=answer.severity,
        risk=answer.risk,
        urgency=answer.urgency,
    )


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)
