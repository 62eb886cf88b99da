"""Primary label, risk, severity and urgency by the one rule table of contract section 2 (``basis: RULE``).

The cuts are conventions, not medicine. Each level begins at its cut: a score of exactly 10 is LOW.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from math import fsum, isfinite

from irmsia.errors import InvalidRequestError
from irmsia.findings.types import Urgency
from irmsia.findings.vocabulary import get_term

PRIMARY_CUTS = (0.10, 0.35, 0.65, 0.90)
PRIMARY_LABELS = ("normal", "probably_normal", "uncertain", "probably_abnormal", "abnormal")
RISK_CUTS = (10.0, 30.0, 50.0, 75.0)
RISK_LEVELS = ("VERY_LOW", "LOW", "MODERATE", "HIGH", "CRITICAL")
SEVERITY_CUTS = (5.0, 15.0, 35.0, 60.0, 80.0)
SEVERITY_LEVELS = ("normal", "minimal", "mild", "moderate", "severe", "critical")
URGENCIES = tuple(Urgency)


def primary_label(probability: float) -> str:
    """The label of p(abnormal), 0..1."""
    return PRIMARY_LABELS[bisect_right(PRIMARY_CUTS, _within(probability, 1, "probability"))]


def risk_score(probabilities: Mapping[str, float]) -> float:
    """min(100, 100 x sum of p(term) x gravity(term)) over a group's terms, without their parents."""
    weighted = (_within(p, 1, "probability") * get_term(code).gravity for code, p in probabilities.items())
    return min(100.0, 100 * fsum(weighted))


def risk_level(score: float) -> str:
    """The level of a risk score, 0..100."""
    return RISK_LEVELS[bisect_right(RISK_CUTS, _within(score, 100, "risk score"))]


def severity_level(score: float) -> str:
    """The severity of a risk score, 0..100."""
    return SEVERITY_LEVELS[bisect_right(SEVERITY_CUTS, _within(score, 100, "risk score"))]


def highest_urgency(present: Iterable[str]) -> Urgency:
    """The highest urgency of the codes that are PRESENT, ROUTINE when there are none."""
    return max((get_term(code).urgency for code in present), key=URGENCIES.index, default=Urgency.ROUTINE)


def _within(value: float, top: float, name: str) -> float:
    if not (isfinite(value) and 0 <= value <= top):
        raise InvalidRequestError(f"{name} must lie within 0..{top:g}, got {value}")
    return value
