"""An `InferenceService` that knows the truth of the phantoms, and can be made to err."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from irmsia.findings.risk import highest_urgency, primary_label, risk_level, risk_score, severity_level
from irmsia.findings.types import (
    Basis,
    Decision,
    Diagnosis,
    Evidence,
    Explanation,
    Finding,
    GridToImage,
    Primary,
    Risk,
    Severity,
    Source,
    SourceSpacing,
    State,
)
from irmsia.imaging.phantoms import Phantom, Truth
from irmsia.inference.protocol import DiagnoseRequest, ModelInfo, ServiceHealth

GRID = 8
TERMS = ("phantom_lesion_bright", "phantom_lesion_dark")
Change = Callable[[Diagnosis], Diagnosis]


def right_answer(truth: Truth) -> Diagnosis:
    """The answer that passes every check."""
    p = {term: 0.96 if term == truth.expected_term else 0.02 for term in TERMS}
    score = risk_score(p)
    present = [term for term in TERMS if term == truth.expected_term]
    spacing = SourceSpacing(None, *truth.geometry.spacing_mm)
    return Diagnosis(
        source=Source(format="DICOM", rows=truth.geometry.rows, columns=truth.geometry.columns, spacing_mm=spacing),
        decision=Decision.ACCEPT,
        rule=8,
        region="phantom",
        primary=Primary(primary_label(sum(p.values())), sum(p.values()), Basis.RULE),
        findings=tuple(Finding(t, t, State.PRESENT if t in present else State.ABSENT, p[t]) for t in TERMS),
        severity=Severity(severity_level(score), Basis.RULE),
        risk=Risk(score, risk_level(score), Basis.RULE),
        urgency=highest_urgency(present),
        explanation=_map(truth),
        evidence=Evidence(frame_sha256=(truth.frame_sha256,)),
    )


def _map(truth: Truth) -> Explanation:
    """A peak in the cell that holds the lesion's centre."""
    row_step, column_step = truth.geometry.rows / GRID, truth.geometry.columns / GRID
    values = np.zeros((GRID, GRID), "<f4")
    if truth.lesion is not None:
        values[int(truth.lesion.row // row_step), int(truth.lesion.column // column_step)] = 1.0
    grid = GridToImage(row_step / 2 - 0.5, column_step / 2 - 0.5, row_step, column_step)
    return Explanation("attention", truth.expected_term, 0, (GRID, GRID), grid, values.tobytes())


class Oracle:
    """Answers each phantom as its truth says, then lets ``change`` spoil the answer."""

    def __init__(
        self, phantoms: tuple[Phantom, ...], change: Change = lambda answer: answer, *, precision: str = "f32"
    ) -> None:
        self._truths = {phantom.data: phantom.truth for phantom in phantoms}
        self._change = change
        self._precision = precision

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Answer at once."""
        assert isinstance(request.source, bytes)
        future: Future[Diagnosis] = Future()
        future.set_result(self._change(replace(right_answer(self._truths[request.source]), input=request.input)))
        return future

    def models(self) -> tuple[ModelInfo, ...]:
        """One, of this precision."""
        return (ModelInfo("0", "oracle", "1", "diagnosis", active=True, ready=True, precision=self._precision),)

    def health(self) -> ServiceHealth:
        """Ready."""
        return ServiceHealth(ready=True)

    def close(self) -> None:
        """Nothing to close."""
