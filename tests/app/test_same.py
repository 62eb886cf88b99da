"""Same and equivalent answers, contract section 4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from irmsia.app.same import first_difference, first_inequivalence
from irmsia.findings.types import (
    AnswerWarning,
    Basis,
    Decision,
    Diagnosis,
    Evidence,
    Explanation,
    Finding,
    GridToImage,
    Primary,
    Source,
    State,
    Timings,
)
from tests.wire.answers import any_of

MAP = np.array([[0.5, -0.25]], "<f4")
ANSWER = Diagnosis(
    input="a.dcm",
    source=Source(format="DICOM", modality="DX"),
    decision=Decision.ACCEPT,
    rule=8,
    primary=Primary("abnormal", 0.95, Basis.RULE),
    findings=(Finding("pneumonia", "pneumonia", State.PRESENT, 0.95),),
    explanation=Explanation("attention", "pneumonia", 0, (1, 2), GridToImage(0, 0, 1, 1), MAP.tobytes()),
    evidence=Evidence("a" * 64, ("b" * 64,), "decoder", "c" * 64, "irmsia"),
    timings_ms=Timings(total=1.0),
    warnings=(AnswerWarning("LOSSY", "lossy"),),
)


@given(any_of(Diagnosis))
def test_every_answer_is_the_same_as_itself(answer: Diagnosis) -> None:
    """Reflexive for whatever an answer may hold."""
    assert first_difference(answer, answer) is None


def test_input_its_digest_and_timings_may_differ() -> None:
    """Two doors that were given one picture under two names give the same answer."""
    evidence = replace(ANSWER.evidence or Evidence(), input_sha256="d" * 64)
    other = replace(ANSWER, input="b.dcm", timings_ms=Timings(total=9.0), evidence=evidence)
    assert first_difference(ANSWER, other) is None


def test_the_engine_may_differ_and_the_software_may_not() -> None:
    """Doors of two precisions agree within the coarser one's tolerance; another version is another answer."""
    made = [
        replace(ANSWER, evidence=replace(ANSWER.evidence or Evidence(), software=software))
        for software in ("irmsia 1, openvino 2 at f32", "irmsia 1, openvino 2 at bf16", "irmsia 2, openvino 2 at f32")
    ]
    assert first_difference(made[0], made[1]) is None
    assert first_difference(made[0], made[2]) == "evidence.software"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"decision": Decision.REFER}, "decision"),
        ({"primary": Primary("abnormal", 0.9502, Basis.RULE)}, "primary.probability"),
        ({"findings": (Finding("pneumonia", "pneumonia", State.ABSENT, 0.95),)}, "findings.0.state"),
        ({"findings": ()}, "findings"),
        ({"source": Source(format="PNG", modality="DX")}, "source.format"),
        ({"evidence": Evidence("a" * 64, ("e" * 64,), "decoder", "c" * 64, "irmsia")}, "evidence.frame_sha256.0"),
        ({"warnings": ()}, "warnings"),
        ({"explanation": None}, "explanation"),
    ],
)
def test_any_other_difference_is_named(change: dict[str, object], place: str) -> None:
    """The first difference comes as a dotted key."""
    assert first_difference(ANSWER, replace(ANSWER, **change)) == place  # type: ignore[arg-type]


def test_numbers_agree_within_the_tolerance_of_the_precision() -> None:
    """1e-4 at fp32, 5e-3 at bf16; maps as well as probabilities."""
    near = replace(ANSWER, primary=Primary("abnormal", 0.95005, Basis.RULE))
    far = replace(ANSWER, primary=Primary("abnormal", 0.954, Basis.RULE))
    assert first_difference(ANSWER, near) is None
    assert first_difference(ANSWER, far) == "primary.probability"
    assert first_difference(ANSWER, far, tolerance=5e-3) is None
    assert ANSWER.explanation is not None
    for shift, place in ((5e-5, None), (1e-2, "explanation.map")):
        moved = replace(ANSWER.explanation, map=(MAP + np.float32(shift)).astype("<f4").tobytes())
        assert first_difference(ANSWER, replace(ANSWER, explanation=moved)) == place


def test_equivalent_answers_leave_out_source_evidence_and_warnings() -> None:
    """A PNG made of a JPEG is another file of the same picture."""
    png = replace(ANSWER, source=Source(format="PNG"), evidence=Evidence(), warnings=())
    assert first_difference(ANSWER, png) is not None
    assert first_inequivalence(ANSWER, png) is None
    assert first_inequivalence(ANSWER, replace(png, rule=7)) == "rule"
