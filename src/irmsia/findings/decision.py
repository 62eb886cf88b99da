"""The decision: rules 2 to 8 of contract section 3 in order, the first that matches wins.

Rule 1 (the file cannot be read) never comes here. Rules 2 to 4 need no network: ``outputs`` may be a function, called
only when they let the image pass. Every quantity that was held against a threshold on the way is kept as a margin,
from which `findings.flips` tells whether another runtime's different answer was a near miss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InternalError
from irmsia.findings.arrays import Array
from irmsia.findings.calibration import apply_calibration, softmax
from irmsia.findings.conformal import conformal_terms, is_normal_only
from irmsia.findings.margins import group_margins, router_margins, statistic_margins
from irmsia.findings.operating import abnormal_probability
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.risk import highest_urgency, primary_label, risk_level, risk_score, severity_level
from irmsia.findings.rows import leading_term, make_rows, present_terms
from irmsia.findings.rules import LabelGroup, ModelRules
from irmsia.findings.types import (
    Basis,
    ConformalSet,
    Decision,
    Finding,
    Primary,
    Reason,
    Risk,
    Severity,
    Urgency,
)
from irmsia.findings.vocabulary import PHANTOM_REGION


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What the file says, each null where it does not, and whether the prepared picture is ``blank`` (rule 2).

    ``modality`` as DICOM writes it, ``region`` by the table of contract section 1, ``age_years``; ``qc_subject`` and
    ``phantom_version``: rule 3.
    """

    modality: str | None = None
    region: str | None = None
    age_years: float | None = None
    qc_subject: bool = False
    phantom_version: str | None = None
    blank: bool = False


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """Of one image: ``router`` (R,) logits in the rules' order, ``logits`` (K,) by region, ``statistics`` (D,)."""

    router: NDArray[np.floating]
    logits: Mapping[str, NDArray[np.floating]]
    statistics: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The part of an answer that rules decide. On REFUSE: no findings, no probabilities, and null what speaks of
    disease.

    ``region``: the routed one, on REFUSE what tags say. Kept for verification and explanation, not for the wire:
    ``probabilities`` by term, ``router`` by region, ``refusal_scores`` by statistic, ``margins`` (`findings.margins`),
    ``routed`` (the router's choice, also on REFUSE), ``leading_term`` (what an explanation is of unless told).
    """

    decision: Decision
    reason: Reason | None
    rule: int
    region: str | None = None
    primary: Primary | None = None
    findings: tuple[Finding, ...] = ()
    severity: Severity | None = None
    risk: Risk | None = None
    urgency: Urgency | None = None
    conformal_set: ConformalSet | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    router: dict[str, float] = field(default_factory=dict)
    refusal_scores: dict[str, float] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)
    routed: str | None = None
    leading_term: str | None = None


def decide(
    rules: ModelRules,
    scorer: RefusalScores,
    facts: CaseFacts,
    outputs: NetworkOutputs | Callable[[], NetworkOutputs] | None,
    *,
    language: str = "en",
    all_findings: bool = False,
) -> Verdict:
    """The verdict on one image. ``all_findings`` adds NOT_ASSESSED rows; ``language``: ``en`` or ``fr``.

    Raises `InternalError` when the network's outputs are needed and missing, misshaped or not finite.
    """
    phantom = is_phantom(facts, rules)
    refused = _refuse_by_tags(rules, facts, phantom=phantom)
    if refused is not None:
        return refused
    checked = check_outputs(rules, outputs() if callable(outputs) else outputs)
    if phantom:
        verdict = Verdict(Decision.ACCEPT, None, 8, PHANTOM_REGION, routed=PHANTOM_REGION)
    else:
        verdict = _route(rules, scorer, facts, checked)
    if verdict.decision is Decision.REFUSE or verdict.routed is None:
        return verdict
    group = rules.group(verdict.routed)
    probabilities = apply_calibration(checked.logits[group.region], group.calibration, group.kind)
    return _answer(verdict, rules, facts, group, probabilities, language=language, all_findings=all_findings)


def asks_network(rules: ModelRules, facts: CaseFacts) -> bool:
    """Whether `decide` needs the network's outputs: rules 2 to 4 let the image pass."""
    return _refuse_by_tags(rules, facts, phantom=is_phantom(facts, rules)) is None


def is_phantom(facts: CaseFacts, rules: ModelRules) -> bool:
    """Whether the phantom group answers (rule 3): a test object of this project, and the bundle has such a group."""
    return facts.qc_subject and bool(facts.phantom_version) and PHANTOM_REGION in rules.router.regions


def _refuse_by_tags(rules: ModelRules, facts: CaseFacts, *, phantom: bool) -> Verdict | None:
    """Rules 2 to 4: a refusal that needs no network, else null."""
    if facts.blank:
        return _refuse(facts, Reason.BLANK, 2)
    if phantom:
        return None
    if facts.qc_subject:
        return _refuse(facts, Reason.QC_SUBJECT, 3)
    rows = [row for row in rules.intended_use if facts.modality is None or facts.modality in row.modalities]
    if not rows:
        return _refuse(facts, Reason.WRONG_MODALITY, 4)
    if facts.region is not None and facts.region not in {row.region for row in rows}:
        return _refuse(facts, Reason.WRONG_REGION, 4)
    return None


def _refuse(facts: CaseFacts, reason: Reason, rule: int) -> Verdict:
    return Verdict(Decision.REFUSE, reason, rule, facts.region)


def check_outputs(rules: ModelRules, outputs: NetworkOutputs | None) -> NetworkOutputs:
    """The outputs as float64; `InternalError` when they are missing, not finite or not of the shapes of ``rules``."""
    if outputs is None:
        raise InternalError("the decision needs the network's outputs")
    missing = sorted({group.region for group in rules.groups} - set(outputs.logits))
    if missing:
        raise InternalError(f"the network gave no logits for {missing}")
    return NetworkOutputs(
        router=_checked(outputs.router, "router", len(rules.router.regions)),
        logits={
            group.region: _checked(outputs.logits[group.region], f"logits_{group.region}", len(group.terms))
            for group in rules.groups
        },
        statistics=_checked(outputs.statistics, "statistics", None),
    )


def _checked(values: NDArray[np.floating], name: str, size: int | None) -> Array:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or (size is not None and len(vector) != size):
        raise InternalError(
            f"the network's {name} must be of shape ({'D' if size is None else size},), got {vector.shape}"
        )
    if not np.isfinite(vector).all():
        raise InternalError(f"the network's {name} are not finite")
    return vector


def _route(rules: ModelRules, scorer: RefusalScores, facts: CaseFacts, outputs: NetworkOutputs) -> Verdict:
    """Rules 5 and 6; a passing verdict still says ACCEPT by rule 8."""
    chances = softmax(outputs.router)
    order = np.argsort(-chances, kind="stable")
    routed = rules.router.regions[int(order[0])]
    seen = Verdict(
        Decision.REFUSE,
        None,
        5,
        facts.region,
        router=dict(zip(rules.router.regions, chances.tolist(), strict=True)),
        margins=router_margins(chances, rules.router),
        routed=routed,
    )
    if routed == PHANTOM_REGION or chances[order[0]] < rules.router.threshold:
        return replace(seen, reason=Reason.UNKNOWN_REGION)
    if facts.region is not None and facts.region != routed:
        return replace(seen, reason=Reason.REGION_CONFLICT)
    scores = scorer.score(outputs.statistics, routed)
    limits = {statistic.name: statistic.thresholds[routed] for statistic in rules.refusal.statistics}
    if set(limits) - set(scores):
        raise InternalError(f"no refusal scores for {sorted(set(limits) - set(scores))}")
    seen = replace(seen, refusal_scores=scores, margins=seen.margins | statistic_margins(scores, limits))
    if any(scores[name] > limit for name, limit in limits.items()):
        return replace(seen, reason=Reason.OUT_OF_DISTRIBUTION, rule=6)
    return replace(seen, decision=Decision.ACCEPT, rule=8, region=routed)


def _answer(
    verdict: Verdict,
    rules: ModelRules,
    facts: CaseFacts,
    group: LabelGroup,
    probabilities: Array,
    *,
    language: str,
    all_findings: bool,
) -> Verdict:
    """Everything that speaks of disease, and rules 7 and 8."""
    by_term = dict(zip(group.terms, probabilities.tolist(), strict=True))
    abnormal = float(abnormal_probability(probabilities, group.terms, group.kind))
    terms = conformal_terms(group, probabilities)
    present = present_terms(group, probabilities, terms)
    score = risk_score(by_term)
    reason = _refer(rules, facts, group, probabilities, terms=terms, present=present)
    return replace(
        verdict,
        decision=Decision.ACCEPT if reason is None else Decision.REFER,
        reason=reason,
        rule=8 if reason is None else 7,
        primary=Primary(primary_label(abnormal), abnormal, Basis.RULE),
        findings=make_rows(group, by_term, present, language=language, all_findings=all_findings),
        severity=Severity(severity_level(score), Basis.RULE),
        risk=Risk(score, risk_level(score), Basis.RULE),
        urgency=highest_urgency(present),
        conformal_set=ConformalSet(group.conformal.coverage, terms),
        probabilities=by_term,
        margins=verdict.margins | group_margins(group, probabilities),
        leading_term=leading_term(group, probabilities),
    )


def _refer(
    rules: ModelRules,
    facts: CaseFacts,
    group: LabelGroup,
    probabilities: Array,
    *,
    terms: tuple[str, ...],
    present: tuple[str, ...],
) -> Reason | None:
    """Rule 7 in its own order; null: accepted."""
    if is_outside_population(rules, group.region, facts.modality, facts.age_years):
        return Reason.OUTSIDE_POPULATION
    if len(terms) != 1:
        return Reason.AMBIGUOUS
    if is_normal_only(terms) == bool(present):
        return Reason.INCONSISTENT
    if is_borderline(group, probabilities):
        return Reason.BORDERLINE
    return None


def is_outside_population(rules: ModelRules, region: str, modality: str | None, age_years: float | None) -> bool:
    """Whether a known age lies outside every row of ``region`` (those that hold the modality, where one does)."""
    rows = [row for row in rules.intended_use if row.region == region]
    rows = [row for row in rows if modality in row.modalities] or rows
    if age_years is None or not rows:
        return False
    return not any(
        (row.age_min is None or row.age_min <= age_years) and (row.age_max is None or age_years <= row.age_max)
        for row in rows
    )


def is_borderline(group: LabelGroup, probabilities: Array) -> bool:
    """Whether p(abnormal), or any term of an independent group, lies within its referral band [low, high]."""
    if group.kind == "exclusive":
        values = [float(abnormal_probability(probabilities, group.terms, group.kind))]
    else:
        values = probabilities.tolist()
    return any(
        not point.separable and point.low <= value <= point.high
        for value, point in zip(values, group.operating_points, strict=True)
    )
