from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.errors import InvalidRequestError
from irmsia.findings.decision import Verdict
from irmsia.findings.frames import leading_frame, make_frames
from irmsia.findings.types import Basis, Decision, Reason, Risk


def verdict(decision: str, score: float | None = None) -> Verdict:
    """A verdict with nothing but a risk score."""
    risk = None if score is None else Risk(score, "LOW", Basis.RULE)
    reasons = {"REFER": Reason.BORDERLINE, "REFUSE": Reason.BLANK, "ACCEPT": None}
    return Verdict(Decision(decision), reasons[decision], {"REFER": 7, "REFUSE": 2, "ACCEPT": 8}[decision], risk=risk)


@pytest.mark.parametrize(
    ("verdicts", "position"),
    [
        ([verdict("ACCEPT", 90), verdict("REFER", 10), verdict("REFER", 20)], 2),
        ([verdict("REFUSE"), verdict("ACCEPT", 5), verdict("ACCEPT", 7)], 2),
        ([verdict("REFUSE"), verdict("REFUSE")], 0),
        ([verdict("ACCEPT", 7), verdict("ACCEPT", 7)], 0),
        ([verdict("REFUSE"), verdict("REFER", 3), verdict("REFER", 3)], 1),
        ([verdict("ACCEPT", 0)], 0),
    ],
)
def test_the_frame_that_speaks(verdicts: list[Verdict], position: int) -> None:
    """REFER before ACCEPT before the first; the highest risk; ties to the lowest index."""
    assert leading_frame(verdicts) == position


def test_no_frame_is_an_error() -> None:
    """An answer without an analysed frame cannot be."""
    with pytest.raises(InvalidRequestError):
        leading_frame([])


def test_frames_of_an_answer() -> None:
    """Null for one frame, else one item an analysed frame under its own number."""
    assert make_frames(1, (0,), [verdict("ACCEPT", 1)]) is None
    frames = make_frames(130, (1, 3), [verdict("ACCEPT", 1), verdict("REFUSE")])
    assert frames is not None
    assert (frames.total, frames.analysed) == (130, 2)
    assert [(item.index, item.decision, item.rule) for item in frames.items] == [
        (1, Decision.ACCEPT, 8),
        (3, Decision.REFUSE, 2),
    ]


VERDICTS = st.lists(
    st.one_of(
        st.just(verdict("REFUSE")),
        st.builds(verdict, st.sampled_from(["ACCEPT", "REFER"]), st.sampled_from([0.0, 1.0, 12.5, 12.500001, 100.0])),
    ),
    min_size=1,
    max_size=64,
)


@given(VERDICTS)
def test_the_leading_frame_is_the_best_by_every_comparison(verdicts: list[Verdict]) -> None:
    """No other frame comes before it: decision first, then risk, then position. Stated as an order of all frames."""

    def rank(position: int) -> tuple[int, float, int]:
        one = verdicts[position]
        order = {Decision.REFER: 0, Decision.ACCEPT: 1, Decision.REFUSE: 2}[one.decision]
        return order, -(one.risk.score if one.risk else 0.0), position

    assert leading_frame(verdicts) == min(range(len(verdicts)), key=rank)


@given(VERDICTS, st.integers(1, 100))
def test_a_refused_frame_behind_changes_nothing(verdicts: list[Verdict], count: int) -> None:
    """Blank frames added at the end never take the lead."""
    assert leading_frame(verdicts + [verdict("REFUSE")] * count) == leading_frame(verdicts)
