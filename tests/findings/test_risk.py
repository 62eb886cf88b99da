from __future__ import annotations

from math import nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.errors import InvalidRequestError
from irmsia.findings.risk import (
    RISK_LEVELS,
    SEVERITY_LEVELS,
    highest_urgency,
    primary_label,
    risk_level,
    risk_score,
    severity_level,
)
from irmsia.findings.types import Urgency
from irmsia.findings.vocabulary import list_terms

CODES = [term.code for term in list_terms()]


@pytest.mark.parametrize(
    ("cut", "below", "at"),
    [
        (0.10, "normal", "probably_normal"),
        (0.35, "probably_normal", "uncertain"),
        (0.65, "uncertain", "probably_abnormal"),
        (0.90, "probably_abnormal", "abnormal"),
    ],
)
def test_primary_cuts(cut: float, below: str, at: str) -> None:
    """A probability exactly at a cut has the upper label, the next double below it the lower one."""
    assert primary_label(nextafter(cut, 0)) == below
    assert primary_label(cut) == at


@pytest.mark.parametrize(
    ("cut", "below", "at"),
    [(10, "VERY_LOW", "LOW"), (30, "LOW", "MODERATE"), (50, "MODERATE", "HIGH"), (75, "HIGH", "CRITICAL")],
)
def test_risk_cuts(cut: float, below: str, at: str) -> None:
    """Risk levels begin at 10, 30, 50 and 75."""
    assert risk_level(nextafter(cut, 0)) == below
    assert risk_level(cut) == at


@pytest.mark.parametrize(
    ("cut", "below", "at"),
    [
        (5, "normal", "minimal"),
        (15, "minimal", "mild"),
        (35, "mild", "moderate"),
        (60, "moderate", "severe"),
        (80, "severe", "critical"),
    ],
)
def test_severity_cuts(cut: float, below: str, at: str) -> None:
    """Severity levels begin at 5, 15, 35, 60 and 80 of the risk score."""
    assert severity_level(nextafter(cut, 0)) == below
    assert severity_level(cut) == at


def test_ends_of_the_scales() -> None:
    """0 and the top of each scale have the first and the last level."""
    assert (primary_label(0), primary_label(1)) == ("normal", "abnormal")
    assert (risk_level(0), risk_level(100)) == (RISK_LEVELS[0], RISK_LEVELS[-1])
    assert (severity_level(0), severity_level(100)) == (SEVERITY_LEVELS[0], SEVERITY_LEVELS[-1])


@pytest.mark.parametrize("value", [-0.001, 1.001, float("nan"), float("inf")])
def test_no_level_out_of_range(value: float) -> None:
    """A number that is no probability or no score raises a typed error instead of the nearest level."""
    for function, scale in ((primary_label, 1), (risk_level, 100), (severity_level, 100)):
        with pytest.raises(InvalidRequestError):
            function(value * scale)


def test_risk_score_by_hand() -> None:
    """100 x sum of p x gravity: .3 of a glioma (.9) and .2 of a meningioma (.6) make 39."""
    assert risk_score({"normal": 0.5, "glioma": 0.3, "meningioma": 0.2}) == pytest.approx(39, abs=1e-12)
    assert risk_score({"normal": 1.0}) == 0
    assert risk_score({"stroke": 1.0, "hemorrhage": 1.0}) == 100


@given(st.dictionaries(st.sampled_from(CODES), st.floats(0, 1)))
def test_risk_score_is_bounded_and_without_order(chances: dict[str, float]) -> None:
    """The score lies within 0..100 and does not depend on the order of the terms."""
    score = risk_score(chances)
    assert 0 <= score <= 100
    assert risk_score(dict(reversed(chances.items()))) == score


@given(st.lists(st.sampled_from(CODES)), st.sampled_from(CODES))
def test_urgency_never_falls(present: list[str], further: str) -> None:
    """A further PRESENT term never lowers the urgency; without any it is ROUTINE."""
    levels = list(Urgency)
    assert levels.index(highest_urgency([*present, further])) >= levels.index(highest_urgency(present))
    assert highest_urgency([]) is Urgency.ROUTINE
    assert highest_urgency(["glioma", "stroke", "meningioma"]) is Urgency.EMERGENCY
