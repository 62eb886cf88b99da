"""The rows of an answer: one a term of the routed group, one a parent, and on request the rest of the vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import fsum, prod

from irmsia.findings.arrays import Array
from irmsia.findings.operating import abnormal_probability
from irmsia.findings.rules import LabelGroup
from irmsia.findings.types import Finding, State
from irmsia.findings.vocabulary import NORMAL, get_label, get_term, list_terms


def leading_term(group: LabelGroup, probabilities: Array) -> str:
    """The most probable term other than ``normal`` of calibrated ``probabilities`` (K,); of equal ones the first."""
    abnormal = [k for k, term in enumerate(group.terms) if term != NORMAL]
    return group.terms[max(abnormal, key=lambda k: probabilities[k])]


def present_terms(group: LabelGroup, probabilities: Array, conformal: Collection[str]) -> tuple[str, ...]:
    """The group's terms that are PRESENT, in its order (contract section 2, "Findings").

    Exclusive: with p(abnormal) at or above the operating point, the leading term and every further one in the conformal
    set. Independent: each term at or above its own operating point.
    """
    if group.kind == "independent":
        points = zip(group.terms, probabilities, group.operating_points, strict=True)
        return tuple(term for term, p, operating in points if p >= operating.point)
    if abnormal_probability(probabilities, group.terms, group.kind) < group.operating_points[0].point:
        return ()
    chosen = {leading_term(group, probabilities), *conformal} - {NORMAL}
    return tuple(term for term in group.terms if term in chosen)


def make_rows(
    group: LabelGroup,
    probabilities: Mapping[str, float],
    present: Collection[str],
    *,
    language: str = "en",
    all_findings: bool = False,
) -> tuple[Finding, ...]:
    """Rows of the group's terms except ``normal``, then their parents, then, if ``all_findings``, NOT_ASSESSED ones."""
    rows = [
        Finding(term, get_label(term, language), _state(term in present), probabilities[term])
        for term in group.terms
        if term != NORMAL
    ]
    for parent, children in list_parents(group).items():
        p = _parent_probability(group, [probabilities[child] for child in children])
        rows.append(Finding(parent, get_label(parent, language), _state(not set(children).isdisjoint(present)), p))
    if all_findings:
        known = {NORMAL, *(row.code for row in rows)}
        rows.extend(
            Finding(term.code, get_label(term.code, language), State.NOT_ASSESSED, None)
            for term in list_terms()
            if term.code not in known
        )
    return tuple(rows)


def list_parents(group: LabelGroup) -> dict[str, tuple[str, ...]]:
    """The group's terms by the parent they have, for parents that are no terms of the group themselves."""
    children: dict[str, list[str]] = {}
    for term in group.terms:
        parent = get_term(term).parent
        if parent and parent not in group.terms:
            children.setdefault(parent, []).append(term)
    return {parent: tuple(terms) for parent, terms in children.items()}


def _parent_probability(group: LabelGroup, children: Collection[float]) -> float:
    if group.kind == "exclusive":
        return min(1.0, fsum(children))
    return 1.0 - prod(1.0 - p for p in children)


def _state(present: bool) -> State:
    return State.PRESENT if present else State.ABSENT
