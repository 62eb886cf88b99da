"""Flips: where two runtimes answer one image differently, and whether the reference stood close enough to excuse it.

A flip is a changed decision or a changed PRESENT / ABSENT (contract section 5). It is excused when every quantity of
the reference that changed sides lay within the tolerance of its threshold: probabilities absolutely, feature scores
relatively.
"""

from __future__ import annotations

from dataclasses import dataclass

from irmsia.findings.decision import Verdict
from irmsia.findings.margins import RELATIVE, is_gap
from irmsia.findings.types import State


@dataclass(frozen=True, slots=True)
class Flip:
    """``states_changed``: codes; ``quantities``: the reference's margins of all that changed sides."""

    decision_changed: bool
    states_changed: tuple[str, ...]
    quantities: dict[str, float]
    excused: bool


def compare_verdicts(reference: Verdict, other: Verdict, *, tolerance: float, relative_tolerance: float) -> Flip | None:
    """The flip between two verdicts on one image, null when both say the same.

    ``tolerance`` on probabilities (.01 at fp32 and INT8, .03 at bf16), ``relative_tolerance`` on feature scores (.01,
    .03).
    """
    decision_changed = reference.decision is not other.decision
    states = () if _is_refused(reference, other) else _changed_states(reference, other)
    if not decision_changed and not states:
        return None
    quantities = _changed_sides(reference, other)
    close = [
        abs(margin) <= (relative_tolerance if name.startswith(RELATIVE) else tolerance)
        for name, margin in quantities.items()
    ]
    return Flip(decision_changed, states, quantities, excused=bool(close) and all(close))


def _is_refused(reference: Verdict, other: Verdict) -> bool:
    """A refusal has no findings: their absence is the changed decision, not changed states."""
    return not reference.findings or not other.findings


def _changed_states(reference: Verdict, other: Verdict) -> tuple[str, ...]:
    before = {row.code: row.state for row in reference.findings}
    after = {row.code: row.state for row in other.findings}
    codes = [*before, *(code for code in after if code not in before)]
    return tuple(
        code for code in codes if State.PRESENT in (a := (before.get(code), after.get(code))) and a[0] is not a[1]
    )


def _changed_sides(reference: Verdict, other: Verdict) -> dict[str, float]:
    """The reference's margins that the other has on the other side, and gaps whose first place another has taken."""
    return {
        name: margin
        for name, margin in reference.margins.items()
        if (name in other.margins and (margin >= 0) != (other.margins[name] >= 0)) or _has_new_first(name, other)
    }


def _has_new_first(name: str, other: Verdict) -> bool:
    stem = name.rpartition(":")[0] + ":"
    rivals = (rival for rival in other.margins if rival.startswith(stem))
    return is_gap(name) and name not in other.margins and any(rivals)
