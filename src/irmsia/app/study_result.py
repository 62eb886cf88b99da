"""What a study came to: one row an instance, and what they come to together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from irmsia.app.study_journal import StudyRow
from irmsia.findings.service import ModelInfo
from irmsia.findings.summary import BatchSummary, summarise
from irmsia.findings.types import AnswerWarning
from irmsia.wire.json import summary_to_json

DUPLICATE = "DUPLICATE_INSTANCE"


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What one run came to.

    ``rows``: one an instance, in the order of their files; the summary's indices count them from 0. ``doubled``: SOP
    Instance UIDs that several rows carry, with different pixels. ``reused``: files whose answer an earlier run had
    given; ``copies``: files left out because another is the same instance with the same pixels.
    """

    model: ModelInfo
    rows: tuple[StudyRow, ...]
    doubled: tuple[str, ...]
    summary: BatchSummary
    reused: int
    copies: int

    @property
    def warnings(self) -> tuple[AnswerWarning, ...]:
        """What whoever reads the rows must know of them."""
        return tuple(
            AnswerWarning(DUPLICATE, f"several images with different pixels carry the SOP Instance UID {uid[:64]}")
            for uid in self.doubled
        )


def make_result(model: ModelInfo, rows: Sequence[StudyRow], reused: int) -> StudyResult:
    """Fold equal instances, the first of them stays, and summarise what is left."""
    first = {_identity(row): row for row in reversed(rows)}
    kept = tuple(row for row in rows if first[_identity(row)] is row)
    counts = Counter(uid for row in kept if (uid := instance_of(row)) is not None)
    return StudyResult(
        model=model,
        rows=kept,
        doubled=tuple(uid for uid, count in counts.items() if count > 1),
        summary=summarise(row.answer for row in kept),
        reused=reused,
        copies=len(rows) - len(kept),
    )


def result_to_json(result: StudyResult) -> dict[str, Any]:
    """The summary of a run as ``irmsia diagnose --out FILE --json`` prints it."""
    model = result.model
    return {
        "model": {"id": model.id, "name": model.name, "version": model.version},
        "reused": result.reused,
        "copies": result.copies,
        **summary_to_json(result.summary),
        "warnings": [asdict(warning) for warning in result.warnings],
    }


def instance_of(row: StudyRow) -> str | None:
    """The SOP Instance UID, null outside DICOM and where the file could not be read."""
    return row.answer.source.sop_instance_uid if row.answer.source is not None else None


def _identity(row: StudyRow) -> tuple[str, str | None, str | None]:
    """The UID with the pixels; without one the digest of the file; without that its name."""
    uid, evidence = instance_of(row), row.answer.evidence
    if uid is not None and row.pixels is not None:
        return "instance", uid, row.pixels
    if evidence is not None and evidence.input_sha256 is not None:
        return "file", evidence.input_sha256, None
    return "name", row.answer.input, None
