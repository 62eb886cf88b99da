"""The card of an answer."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from irmsia.cli.card import REASON_WORDS, limits_of, make_card, make_limits
from irmsia.findings.types import (
    AnswerWarning,
    Basis,
    ConformalSet,
    Decision,
    Diagnosis,
    Evidence,
    Finding,
    FrameAnswer,
    Frames,
    ModelRef,
    Primary,
    Problem,
    Reason,
    Risk,
    Severity,
    State,
    Timings,
    Urgency,
)

ANSWER = Diagnosis(
    input="chest.jpeg",
    decision=Decision.REFER,
    reason=Reason.BORDERLINE,
    rule=7,
    region="chest",
    modality="DX",
    primary=Primary("probably_abnormal", 0.734, Basis.RULE),
    findings=(
        Finding("glioma", "Glioma", State.NOT_ASSESSED, None),
        Finding("pneumonia", "Pneumonia", State.PRESENT, 0.734),
    ),
    severity=Severity("moderate", Basis.RULE),
    risk=Risk(51.4, "HIGH", Basis.RULE),
    urgency=Urgency.URGENT,
    conformal_set=ConformalSet(0.95, ("pneumonia",)),
    model=ModelRef("ab" * 32, "irmsia-starter", "1.0.0"),
    evidence=Evidence("12" * 32, ("34" * 32,), "opencv", "ab" * 32, "irmsia"),
    timings_ms=Timings(total=312.4),
    warnings=(AnswerWarning("LIMITATION", "children of one hospital"),),
)


def _text(answer: Diagnosis, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(make_card(answer))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "shown",
    [
        "chest.jpeg", "REFER", "BORDERLINE", "too close to the threshold", "chest  DX", "73.4%", "probably abnormal",
        "51.4", "HIGH", "severity moderate", "urgency URGENT", "Pneumonia", "PRESENT", "NOT ASSESSED",
        "in the 95% set  pneumonia",
        "irmsia-starter 1.0.0 (abababababab)", "312 ms", "1212121212121212", "3434343434343434",
        "Research use only. Not a medical device.",
    ],
)  # fmt: skip
def test_a_card_shows_the_whole_answer(shown: str) -> None:
    """Decision, grounds, probabilities, evidence and disclaimer stand on the card of an ordinary terminal."""
    assert shown in _text(ANSWER)


def test_a_refusal_shows_no_numbers() -> None:
    """A refused image gets its reason, never a probability."""
    refused = Diagnosis(input="ct.dcm", decision=Decision.REFUSE, reason=Reason.WRONG_MODALITY, rule=4, modality="CT")
    text = _text(refused)
    assert "REFUSE" in text
    assert "WRONG_MODALITY" in text
    assert "%" not in text


def test_a_failure_shows_its_code_and_message() -> None:
    """A file that could not be read says why."""
    text = _text(Diagnosis(input="cut.dcm", error=Problem("TRUNCATED", "the pixel data end early")))
    assert "FAILED" in text
    assert "TRUNCATED" in text
    assert "the pixel data end early" in text


def test_names_cannot_steer_the_terminal() -> None:
    """Escape sequences, bidirectional marks and rich markup in a file name are shown, not obeyed."""
    text = _text(replace(ANSWER, input="[red]\x1b[2J\u202egnp.exe\n.dcm"))
    assert "[red]?[2J?gnp.exe?.dcm" in text
    assert "\x1b" not in text


def test_every_reason_has_words() -> None:
    """A new reason needs a sentence for people."""
    assert set(REASON_WORDS) == set(Reason)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_card_fits_any_terminal(width: int) -> None:
    """No line is wider than the terminal."""
    assert all(len(line) <= width for line in _text(ANSWER, width).splitlines())


def test_limits_stand_once_below_the_cards() -> None:
    """The model's limits are left out of the card and listed for the run; other warnings stay on their card."""
    answer = replace(ANSWER, warnings=(*ANSWER.warnings, AnswerWarning("LOSSY", "a lossy step")))
    assert "children of one hospital" not in _text(answer)
    assert "LOSSY a lossy step" in _text(answer)
    assert limits_of(answer) == ("children of one hospital",)
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(make_limits(limits_of(answer)))
    assert "! children of one hospital" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_file_name_stands_in_the_title_however_deep_the_folder() -> None:
    """A long path is a line of its own, whole; the title holds the name."""
    path = "/".join(["a-long-folder-name"] * 6) + "/chest.jpeg"
    lines = _text(replace(ANSWER, input=path)).splitlines()
    assert lines[0].startswith("╭─  chest.jpeg ")
    folded = "".join(line.strip("│ ") for line in lines[1:6])
    assert path in folded


def _frame(index: int, decision: Decision, risk: float | None) -> FrameAnswer:
    if risk is None:
        return FrameAnswer(index, decision, Reason.BLANK, 2, None, None, ())
    finding = Finding("pneumonia", "Pneumonia", State.PRESENT if risk > 50 else State.ABSENT, risk / 100)
    primary, score = Primary("abnormal", risk / 100, Basis.RULE), Risk(risk, "HIGH", Basis.RULE)
    return FrameAnswer(index, decision, None, 8, primary, score, (finding,))


def test_frames_stand_in_the_order_in_which_they_would_lead() -> None:
    """Ten of them: REFER first, then the highest risk; the rest are counted; the digest is the leading frame's."""
    items = [
        _frame(0, Decision.REFUSE, None),
        *(_frame(index, Decision.ACCEPT, float(index)) for index in range(1, 60)),
        _frame(60, Decision.REFER, 3.0),
    ]
    evidence = Evidence("12" * 32, tuple(f"{index:064x}" for index in range(61)), "native", "ab" * 32, "irmsia")
    text = _text(replace(ANSWER, frames=Frames(61, 61, tuple(items)), evidence=evidence))
    table = text[text.index("61 of 61 frames analysed") :].splitlines()
    assert [line.split()[1] for line in table[2:5]] == ["60", "59", "58"]
    assert "Pneumonia" in table[3]
    assert "and 51 more: 50 ACCEPT, 1 REFUSE" in text
    assert f"frame {60:064x}"[:20] in text


@pytest.mark.parametrize("width", [40, 80])
def test_a_card_of_many_frames_fits_any_terminal(width: int) -> None:
    """The table of frames is no wider than the card."""
    frames = Frames(2, 2, (_frame(0, Decision.REFUSE, None), _frame(1, Decision.ACCEPT, 80.0)))
    assert all(len(line) <= width for line in _text(replace(ANSWER, frames=frames), width).splitlines())
