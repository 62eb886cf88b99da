"""A study as a table for spreadsheets: one row an instance, the same columns whatever model answered."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from irmsia.app.study_result import DUPLICATE, StudyResult, instance_of
from irmsia.findings.types import Diagnosis, Source, State
from irmsia.findings.vocabulary import NORMAL, list_terms

_TERMS = tuple(term.code for term in list_terms() if term.code != NORMAL)
_FORMULA = re.compile(r"""^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))(?="*[=+\-@＝＋－＠])""")
"""Where a spreadsheet would begin to compute, full-width forms too (OWASP, CSV Injection): at the start of a cell, and
after a semicolon, a tab or a line end, where many a spreadsheet begins another cell (French ones, say)."""

Cell = str | int | float | None


def make_table(result: StudyResult) -> Iterator[bytes]:
    """The table, UTF-8, a line at a time (RFC 4180).

    Lists are joined by ``;``. ``p_TERM``: calibrated probability, empty where the model does not assess the term. Text
    that a spreadsheet would compute has an apostrophe before it.
    """
    doubled = set(result.doubled)
    yield _line(_cells(Diagnosis()))
    for row in result.rows:
        cells = _cells(row.answer, doubled=instance_of(row) in doubled)
        yield _line(map(_guarded, cells.values()))


def _cells(answer: Diagnosis, *, doubled: bool = False) -> dict[str, Cell]:
    return {
        "input": answer.input,
        **_identity_cells(answer.source or Source()),
        "region": answer.region,
        **_decision_cells(answer),
        **_finding_cells(answer),
        "error": answer.error.code if answer.error else None,
        "warnings": ";".join(dict.fromkeys([*([DUPLICATE] if doubled else []), *(w.code for w in answer.warnings)])),
        **_evidence_cells(answer),
    }


def _identity_cells(source: Source) -> dict[str, Cell]:
    return {
        "study_instance_uid": source.study_instance_uid,
        "series_instance_uid": source.series_instance_uid,
        "sop_instance_uid": source.sop_instance_uid,
        "patient_pseudonym": source.patient_pseudonym,
        "format": source.format,
        "modality": source.modality,
    }


def _decision_cells(answer: Diagnosis) -> dict[str, Cell]:
    primary, risk = answer.primary, answer.risk
    return {
        "decision": answer.decision,
        "reason": answer.reason,
        "rule": answer.rule,
        "primary": primary.label if primary else None,
        "p_abnormal": primary.probability if primary else None,
        "risk_score": risk.score if risk else None,
        "risk_level": risk.level if risk else None,
        "severity": answer.severity.level if answer.severity else None,
        "urgency": answer.urgency,
    }


def _finding_cells(answer: Diagnosis) -> dict[str, Cell]:
    probabilities = {row.code: row.probability for row in answer.findings}
    return {
        "present": ";".join(row.code for row in answer.findings if row.state is State.PRESENT),
        "conformal_set": ";".join(answer.conformal_set.terms) if answer.conformal_set else None,
        **{f"p_{code}": probabilities.get(code) for code in _TERMS},
        "frames": answer.frames.total if answer.frames else None,
        "frames_analysed": answer.frames.analysed if answer.frames else None,
    }


def _evidence_cells(answer: Diagnosis) -> dict[str, Cell]:
    model, evidence = answer.model, answer.evidence
    return {
        "input_sha256": evidence.input_sha256 if evidence else None,
        "model_id": model.id if model else None,
        "model_name": model.name if model else None,
        "model_version": model.version if model else None,
        "software": evidence.software if evidence else None,
        "disclaimer": answer.disclaimer,
    }


def _guarded(cell: Cell) -> Cell:
    return _FORMULA.sub("'", cell) if isinstance(cell, str) else cell


def _line(cells: Iterable[Cell]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode("utf-8", "replace")
