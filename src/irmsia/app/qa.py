"""Quality assurance (contract section 6): phantoms with known truth through every door, each answer checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irmsia import durable
from irmsia.app.same import TOLERANCES, first_difference
from irmsia.errors import InvalidRequestError
from irmsia.findings.risk import highest_urgency, primary_label, risk_level, risk_score, severity_level
from irmsia.findings.types import Decision, Diagnosis, Explanation, State
from irmsia.findings.vocabulary import NORMAL
from irmsia.imaging.phantoms import Lesion, Phantom, Truth, qa_set
from irmsia.imaging.types import ImageInfo
from irmsia.inference.protocol import DiagnoseRequest, InferenceService

CHECKS = ("term", "rules", "map", "place", "digest", "doors")
_MILLIMETRE = 1e-3
_SCORE = 1e-6


@dataclass(frozen=True, slots=True)
class Fault:
    """One check that one door's answer failed: which, and what was found."""

    door: str
    check: str
    found: str


@dataclass(frozen=True, slots=True)
class PhantomReport:
    """One phantom: the answer of each door, and what is wrong with it. ``checks``: those that applied."""

    truth: Truth
    answers: Mapping[str, Diagnosis]
    checks: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether every check of every door passed."""
        return not self.faults


def run_qa(
    doors: Mapping[str, InferenceService],
    inspect: Callable[[bytes], ImageInfo],
    phantoms: Sequence[Phantom] | None = None,
) -> Iterator[PhantomReport]:
    """Yield the report of each phantom.

    Args:
        doors: every door that is up, by name.
        inspect: reads a file's header and frames, for the orientation that no answer carries.
        phantoms: null for `irmsia.imaging.phantoms.qa_set`.
    """
    tolerance = _tolerance(doors)
    for phantom in phantoms if phantoms is not None else qa_set():
        asked = {name: door.submit(_request(phantom)) for name, door in doors.items()}
        answers = {name: future.result() for name, future in asked.items()}
        yield report_on(phantom, answers, inspect(phantom.data), tolerance=tolerance)


def write_phantoms(folder: Path) -> list[Path]:
    """Write the phantoms of `irmsia.imaging.phantoms.qa_set` as DICOM files: what to try where no image is at hand.

    Raises:
        InvalidRequestError: the folder cannot be written.
    """
    files = {folder / phantom.name: phantom.data for phantom in qa_set()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            durable.write_bytes(path, data)
    except OSError as error:
        raise InvalidRequestError(f"the output cannot be written: {error.strerror}") from None
    return list(files)


def report_on(
    phantom: Phantom, answers: Mapping[str, Diagnosis], info: ImageInfo, *, tolerance: float
) -> PhantomReport:
    """Check the answers to one phantom against its truth, and numbers of two doors within ``tolerance``."""
    truth = phantom.truth
    faults = [Fault(name, check, found) for name, answer in answers.items() for check, found in _faults(truth, answer)]
    faults += [Fault("reader", "place", found) for found in _orientation_faults(truth, info)]
    faults += [Fault(name, "doors", f"{place} differs") for name, place in _disagreements(answers, tolerance)]
    needed = {"map": truth.lesion is not None, "doors": len(answers) > 1}
    checks = tuple(check for check in CHECKS if needed.get(check, True))
    return PhantomReport(truth, dict(answers), checks, tuple(faults))


def best_term(answer: Diagnosis) -> tuple[str, float]:
    """The phantom group's most probable term, ``normal`` among them, and its probability."""
    probabilities = {row.code: row.probability for row in answer.findings if row.probability is not None}
    if answer.primary is not None:
        probabilities[NORMAL] = 1.0 - answer.primary.probability
    return max(probabilities.items(), key=lambda item: item[1], default=("nothing", 0.0))


def _request(phantom: Phantom) -> DiagnoseRequest:
    term = phantom.truth.expected_term
    return DiagnoseRequest(
        input=phantom.name, source=phantom.data, heatmap=True, term=term if phantom.truth.lesion is not None else None
    )


def _faults(truth: Truth, answer: Diagnosis) -> Iterator[tuple[str, str]]:
    """What is wrong with one answer, as (check, found)."""
    if answer.error is not None:
        yield "term", f"{answer.error.code}: {answer.error.message}"
        return
    if answer.decision is Decision.REFUSE:
        yield "term", f"REFUSE {answer.reason}"
        return
    term, probability = best_term(answer)
    if term != truth.expected_term:
        yield "term", f"{term} ({probability:.3f}) instead of {truth.expected_term}"
    yield from (("rules", found) for found in _rule_faults(answer))
    if truth.lesion is not None:
        yield from (("map", found) for found in _map_faults(truth.lesion, answer.explanation))
    yield from (("place", found) for found in _geometry_faults(truth, answer))
    if answer.evidence is None or answer.evidence.frame_sha256 != (truth.frame_sha256,):
        yield "digest", "the pixels read are not those of the phantom"


def _rule_faults(answer: Diagnosis) -> Iterator[str]:
    """Severity, risk and urgency against the table of contract section 2, from the returned probabilities alone."""
    if answer.primary is None or answer.risk is None or answer.severity is None:
        yield "primary, risk or severity is missing"
        return
    score = risk_score({row.code: row.probability for row in answer.findings if row.probability is not None})
    present = [row.code for row in answer.findings if row.state is State.PRESENT]
    expected = {
        "primary": (primary_label(answer.primary.probability), answer.primary.label),
        "risk level": (risk_level(answer.risk.score), answer.risk.level),
        "severity": (severity_level(answer.risk.score), answer.severity.level),
        "urgency": (highest_urgency(present), answer.urgency),
    }
    if not math.isclose(score, answer.risk.score, abs_tol=_SCORE):
        yield f"risk {answer.risk.score:.6f} instead of {score:.6f}"
    yield from (f"{name} {found} instead of {wanted}" for name, (wanted, found) in expected.items() if wanted != found)


def _map_faults(lesion: Lesion, shown: Explanation | None) -> Iterator[str]:
    """The map's maximum lies within the lesion dilated by one map cell."""
    if shown is None:
        yield "no map"
        return
    values = np.frombuffer(shown.map, "<f4").reshape(shown.shape)
    cell_row, cell_column = np.unravel_index(int(values.argmax()), values.shape)
    grid = shown.grid_to_image
    row, column = grid.row0 + cell_row * grid.row_step, grid.column0 + cell_column * grid.column_step
    margins = {"margin_rows": abs(grid.row_step), "margin_columns": abs(grid.column_step)}
    if not lesion.holds(row, column, **margins):
        yield f"maximum at ({row:.0f}, {column:.0f}), lesion at ({lesion.row:.0f}, {lesion.column:.0f})"


def _geometry_faults(truth: Truth, answer: Diagnosis) -> Iterator[str]:
    if answer.source is None:
        yield "no source"
        return
    plane = truth.geometry
    if (answer.source.rows, answer.source.columns) != (plane.rows, plane.columns):
        yield f"{answer.source.rows} x {answer.source.columns} pixels instead of {plane.rows} x {plane.columns}"
    found = (answer.source.spacing_mm.row_mm, answer.source.spacing_mm.column_mm)
    if not _are_close(found, plane.spacing_mm):
        yield f"spacing {found} instead of {plane.spacing_mm}"


def _orientation_faults(truth: Truth, info: ImageInfo) -> Iterator[str]:
    plane, found = truth.geometry, info.orientation
    if plane.row_cosine is None or plane.column_cosine is None:
        return
    if found is None:
        yield "no orientation"
    elif not (
        _are_close(found.row_cosine, plane.row_cosine)
        and _are_close(found.column_cosine, plane.column_cosine)
        and _are_close(found.position or (), plane.position or ())
    ):
        yield "position or orientation differs"


def _are_close(found: Sequence[float | None], wanted: Sequence[float]) -> bool:
    if len(found) != len(wanted):
        return False
    return all(a is not None and abs(a - b) <= _MILLIMETRE for a, b in zip(found, wanted, strict=True))


def _tolerance(doors: Mapping[str, InferenceService]) -> float:
    """What the coarsest number format among the doors allows."""
    precisions = {model.precision for door in doors.values() for model in door.models() if model.active}
    return max(TOLERANCES[precision] for precision in {"f32", *precisions} if precision in TOLERANCES)


def _disagreements(answers: Mapping[str, Diagnosis], tolerance: float) -> Iterator[tuple[str, str]]:
    """Doors whose answer is not that of the first door, and where it differs."""
    first, *others = answers.items()
    for name, answer in others:
        place = first_difference(first[1], answer, tolerance=tolerance)
        if place is not None:
            yield name, place
