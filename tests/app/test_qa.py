"""The checks of `irmsia qa`: right answers pass, and each kind of wrong answer is caught under its own name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from irmsia.app.qa import best_term, run_qa, write_phantoms
from irmsia.findings.types import (
    Basis,
    Decision,
    Diagnosis,
    Evidence,
    Primary,
    Problem,
    Reason,
    Risk,
    Severity,
    Source,
    SourceSpacing,
    Urgency,
)
from irmsia.imaging.phantoms import Phantom, qa_set
from irmsia.imaging.read import inspect
from irmsia.imaging.types import ImageInfo
from irmsia.settings.limits import ReadLimits
from tests.app.oracle import Change, Oracle


@pytest.fixture(scope="module")
def phantoms() -> tuple[Phantom, ...]:
    """Return the phantoms of `irmsia qa`."""
    return qa_set()


def _inspect(data: bytes) -> ImageInfo:
    return inspect(data, ReadLimits())


def _failed(phantoms: tuple[Phantom, ...], change: Change) -> set[str]:
    """The checks that fail for any phantom when one of two doors answers with ``change``."""
    doors = {"process": Oracle(phantoms), "grpc": Oracle(phantoms, change)}
    return {fault.check for report in run_qa(doors, _inspect, phantoms) for fault in report.faults}


def test_the_truth_passes(phantoms: tuple[Phantom, ...]) -> None:
    """Twelve phantoms or more, four modalities with and without lesions, all pass through both doors."""
    doors = {"process": Oracle(phantoms), "grpc": Oracle(phantoms)}
    reports = list(run_qa(doors, _inspect, phantoms))
    assert len(reports) >= 12
    assert {report.truth.kind for report in reports} == {"CT", "MR", "DX", "US"}
    assert {report.truth.lesion_kind for report in reports} == {"none", "bright", "dark"}
    assert [report.faults for report in reports if not report.ok] == []


def test_a_referral_passes(phantoms: tuple[Phantom, ...]) -> None:
    """REFER with the right term passes; it is the same answer only if both doors refer."""
    refer: Change = lambda answer: replace(answer, decision=Decision.REFER, reason=Reason.BORDERLINE)  # noqa: E731
    doors = {"process": Oracle(phantoms, refer), "grpc": Oracle(phantoms, refer)}
    assert all(report.ok for report in run_qa(doors, _inspect, phantoms))


def _mirror(answer: Diagnosis) -> Diagnosis:
    assert answer.explanation is not None
    rows, columns = answer.explanation.shape
    cells = [answer.explanation.map[4 * i : 4 * i + 4] for i in range(rows * columns)]
    turned = b"".join(b"".join(reversed(cells[row * columns : (row + 1) * columns])) for row in range(rows))
    return replace(answer, explanation=replace(answer.explanation, map=turned))


def _source(answer: Diagnosis, spacing: SourceSpacing) -> Diagnosis:
    return replace(answer, source=replace(answer.source or Source(), spacing_mm=spacing))


FAULTS: dict[str, tuple[str, Change]] = {
    "refused": ("term", lambda a: Diagnosis(decision=Decision.REFUSE, reason=Reason.OUT_OF_DISTRIBUTION, rule=6)),
    "failed": ("term", lambda a: Diagnosis(error=Problem("WORKER_DIED", "the child died"))),
    "other term": ("term", lambda a: replace(a, findings=(*a.findings[:1], replace(a.findings[1], probability=0.99)))),
    "risk score": ("rules", lambda a: replace(a, risk=Risk(50.0, "HIGH", Basis.RULE))),
    "risk level": ("rules", lambda a: replace(a, risk=a.risk and replace(a.risk, level="CRITICAL"))),
    "severity": ("rules", lambda a: replace(a, severity=Severity("critical", Basis.RULE))),
    "no severity": ("rules", lambda a: replace(a, severity=None)),
    "urgency": ("rules", lambda a: replace(a, urgency=Urgency.EMERGENCY)),
    "primary": ("rules", lambda a: replace(a, primary=a.primary and replace(a.primary, label="uncertain"))),
    "mirrored map": ("map", _mirror),
    "no map": ("map", lambda a: replace(a, explanation=None)),
    "no spacing": ("place", lambda a: _source(a, SourceSpacing())),
    "spacing": ("place", lambda a: _source(a, SourceSpacing(None, 1.0, 1.0))),
    "size": ("place", lambda a: replace(a, source=a.source and replace(a.source, rows=1))),
    "digest": ("digest", lambda a: replace(a, evidence=Evidence(frame_sha256=("0" * 64,)))),
    "door": ("doors", lambda a: replace(a, region="chest")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_caught(phantoms: tuple[Phantom, ...], fault: str) -> None:
    """A wrong answer of one door fails its own check, and the doors no longer agree."""
    check, change = FAULTS[fault]
    failed = _failed(phantoms[:3], change)
    assert check in failed
    assert "doors" in failed


@pytest.mark.parametrize(("precision", "agree"), [("f32", False), ("bf16", True)])
def test_doors_agree_within_their_precision(phantoms: tuple[Phantom, ...], precision: str, agree: bool) -> None:
    """A probability .001 away is another answer at f32 and the same one where a door computes in bf16."""
    near: Change = lambda a: replace(a, primary=a.primary and replace(a.primary, probability=0.981))  # noqa: E731
    doors = {"process": Oracle(phantoms), "grpc": Oracle(phantoms, near, precision=precision)}
    (report,) = run_qa(doors, _inspect, [next(phantom for phantom in phantoms if phantom.truth.lesion is not None)])
    assert report.ok is agree


def test_a_reader_that_loses_the_orientation_is_caught(phantoms: tuple[Phantom, ...]) -> None:
    """No answer carries the orientation, so the reader's own words are checked."""
    doors = {"process": Oracle(phantoms)}
    blind = [
        report
        for report in run_qa(doors, lambda data: replace(_inspect(data), orientation=None), phantoms)
        if report.faults
    ]
    assert blind
    assert {fault.check for report in blind for fault in report.faults} == {"place"}


def test_normal_competes_with_the_lesions() -> None:
    """The most probable term counts `normal` as 1 - p(abnormal)."""
    assert best_term(Diagnosis(primary=Primary("normal", 0.2, Basis.RULE))) == ("normal", 0.8)
    assert best_term(Diagnosis()) == ("nothing", 0.0)


def test_phantoms_are_written_as_they_are_sent(tmp_path: Path, phantoms: Sequence[Phantom]) -> None:
    """`qa --out` leaves the very files that the doors are asked, and nothing else."""
    written = write_phantoms(tmp_path / "new")
    assert [path.read_bytes() for path in written] == [phantom.data for phantom in phantoms]
    assert sorted(written) == sorted((tmp_path / "new").iterdir())


def test_one_door_is_compared_with_nothing(phantoms: tuple[Phantom, ...]) -> None:
    """What was not checked is not reported as checked: equal doors need two, a map needs a lesion."""
    alone = next(run_qa({"process": Oracle(phantoms)}, _inspect, phantoms[:1]))
    both = next(run_qa({"process": Oracle(phantoms), "grpc": Oracle(phantoms)}, _inspect, phantoms[:1]))
    assert "doors" not in alone.checks
    assert "doors" in both.checks
