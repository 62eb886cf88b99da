from __future__ import annotations

from collections.abc import Callable
from math import nextafter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.errors import InternalError
from irmsia.findings.decision import CaseFacts, NetworkOutputs, Verdict, decide, is_outside_population
from irmsia.findings.rules import Calibration, IntendedUse, OperatingPoint, Refusal
from irmsia.findings.types import Basis, Decision, Reason, State, Urgency
from tests.findings.cases import REGIONS, make_group, make_outputs, make_rules, make_scorer

RULES, SCORER = make_rules(), make_scorer()
NORMAL_CHEST = (0.95, 0.05)
PNEUMONIA = (0.02, 0.98)
GLIOMA = (0.01, 0.97, 0.01, 0.01)


def never() -> NetworkOutputs:
    """Fail the test: rules 2 to 4 need no network."""
    raise AssertionError("the network was asked")


def at(
    expected: tuple[Decision, Reason | None, int], facts: CaseFacts, outputs: Any, **changes: Any
) -> tuple[Any, ...]:
    """A case: what is expected, of which facts and outputs, under which changed rules."""
    return expected, facts, outputs, changes


MARKED = {"qc_subject": True, "phantom_version": "1"}
# Every case breaks the rule it names and, where it can, all later ones: the first match must win.
ODD = (99.0, 99.0, 99.0)
CASES = {
    "2 blank before everything": at(
        (Decision.REFUSE, Reason.BLANK, 2), CaseFacts(blank=True, modality="CT", region="knee", qc_subject=True), never
    ),
    "2 blank phantom": at((Decision.REFUSE, Reason.BLANK, 2), CaseFacts(blank=True, **MARKED), never),
    "3 test object of someone else": at(
        (Decision.REFUSE, Reason.QC_SUBJECT, 3), CaseFacts(qc_subject=True, modality="CT", region="knee"), never
    ),
    "3 mark without version": at(
        (Decision.REFUSE, Reason.QC_SUBJECT, 3), CaseFacts(qc_subject=True, phantom_version=""), never
    ),
    "3 version without QualityControlSubject is a patient's image": at(
        (Decision.REFUSE, Reason.WRONG_MODALITY, 4), CaseFacts(phantom_version="1", modality="CT"), never
    ),
    "4 no row holds the modality": at(
        (Decision.REFUSE, Reason.WRONG_MODALITY, 4), CaseFacts(modality="CT", region="knee"), never
    ),
    "4 modality known, region of another row": at(
        (Decision.REFUSE, Reason.WRONG_REGION, 4), CaseFacts(modality="MR", region="chest"), never
    ),
    "4 region alone, in no row": at((Decision.REFUSE, Reason.WRONG_REGION, 4), CaseFacts(region="knee"), never),
    "5 phantom by the picture alone": at(
        (Decision.REFUSE, Reason.UNKNOWN_REGION, 5),
        CaseFacts(region="chest"),
        make_outputs("phantom", (0.0, 1.0, 0.0), statistics=ODD),
    ),
    "5 router unsure": at(
        (Decision.REFUSE, Reason.UNKNOWN_REGION, 5),
        CaseFacts(region="brain"),
        make_outputs("chest", PNEUMONIA, certainty=0.79, statistics=ODD),
    ),
    "5 tags say another region": at(
        (Decision.REFUSE, Reason.REGION_CONFLICT, 5),
        CaseFacts(region="brain"),
        make_outputs("chest", PNEUMONIA, statistics=ODD),
    ),
    "6 first statistic": at(
        (Decision.REFUSE, Reason.OUT_OF_DISTRIBUTION, 6),
        CaseFacts(region="chest", age_years=40),
        make_outputs("chest", (0.5, 0.5), statistics=(3.0, 3.0, 0.0)),
    ),
    "6 second statistic": at(
        (Decision.REFUSE, Reason.OUT_OF_DISTRIBUTION, 6),
        CaseFacts(),
        make_outputs("chest", PNEUMONIA, statistics=(0.0, 0.0, -2.01)),
    ),
    "7 too old, though also ambiguous and borderline": at(
        (Decision.REFER, Reason.OUTSIDE_POPULATION, 7), CaseFacts(age_years=40), make_outputs("chest", (0.5, 0.5))
    ),
    "7 ambiguous, though also borderline": at(
        (Decision.REFER, Reason.AMBIGUOUS, 7),
        CaseFacts(age_years=5),
        make_outputs("chest", (0.5, 0.5)),
        groups=tuple(make_group(region, quantile=0.6) for region in REGIONS),
    ),
    "7 set normal, something present, though borderline": at(
        (Decision.REFER, Reason.INCONSISTENT, 7), CaseFacts(), make_outputs("brain", (0.45, 0.2, 0.2, 0.15))
    ),
    "7 set disease, nothing present, though borderline": at(
        (Decision.REFER, Reason.INCONSISTENT, 7),
        CaseFacts(),
        make_outputs("chest", (0.45, 0.55)),
        groups=tuple(
            make_group(region, point=OperatingPoint(low=0.4, high=0.6, point=0.56, separable=False))
            for region in REGIONS
        ),
    ),
    "7 borderline": at((Decision.REFER, Reason.BORDERLINE, 7), CaseFacts(), make_outputs("chest", (0.45, 0.55))),
    "7 the band is empty where separable": at(
        (Decision.ACCEPT, None, 8),
        CaseFacts(),
        make_outputs("chest", (0.45, 0.55)),
        groups=tuple(
            make_group(region, point=OperatingPoint(low=0.6, high=0.4, point=0.5, separable=True)) for region in REGIONS
        ),
    ),
    "8 normal": at(
        (Decision.ACCEPT, None, 8), CaseFacts(modality="DX", region="chest"), make_outputs("chest", NORMAL_CHEST)
    ),
    "8 disease": at((Decision.ACCEPT, None, 8), CaseFacts(modality="MR"), make_outputs("brain", GLIOMA)),
    "8 without any tag": at((Decision.ACCEPT, None, 8), CaseFacts(), make_outputs("brain", GLIOMA)),
    "8 a phantom skips rules 4 to 6": at(
        (Decision.ACCEPT, None, 8),
        CaseFacts(modality="CT", region="knee", age_years=99, **MARKED),
        make_outputs("phantom", (0.0, 1.0, 0.0), certainty=0.1, statistics=ODD),
    ),
    "7 a phantom may be referred": at(
        (Decision.REFER, Reason.BORDERLINE, 7), CaseFacts(**MARKED), make_outputs("phantom", (0.5, 0.49, 0.01))
    ),
}
CASES["7 a phantom may be referred"][3]["groups"] = tuple(
    make_group(region, point=OperatingPoint(low=0.4, high=0.6, point=0.55, separable=False)) for region in REGIONS
)


@pytest.mark.parametrize("name", CASES)
def test_the_first_rule_that_matches_wins(name: str) -> None:
    """Each row of the table is answered by the rule it names, and rules 2 to 4 never ask the network."""
    expected, facts, outputs, changes = CASES[name]
    verdict = decide(make_rules(**changes), SCORER, facts, outputs)
    assert (verdict.decision, verdict.reason, verdict.rule) == expected


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0][0] is Decision.REFUSE])
def test_a_refusal_says_nothing_of_disease(name: str) -> None:
    """On REFUSE findings are empty, everything medical is null and the region is what tags say."""
    _, facts, outputs, changes = CASES[name]
    verdict = decide(make_rules(**changes), SCORER, facts, outputs)
    assert verdict.findings == ()
    assert (verdict.primary, verdict.severity, verdict.risk, verdict.urgency, verdict.conformal_set) == (None,) * 5
    assert verdict.probabilities == {}
    assert verdict.leading_term is None
    assert verdict.region == facts.region


def test_every_reason_is_reached() -> None:
    """The table above leaves no reason out."""
    assert {case[0][1] for case in CASES.values()} == {*Reason, None}


def test_an_answer_is_whole() -> None:
    """A glioma of .97: label, rows with the parent, risk, severity, urgency and set by the tables."""
    verdict = decide(RULES, SCORER, CaseFacts(modality="MR"), make_outputs("brain", GLIOMA))
    assert verdict.region == verdict.routed == "brain"
    assert verdict.primary is not None and verdict.risk is not None and verdict.severity is not None
    assert verdict.conformal_set is not None
    assert (verdict.primary.label, verdict.primary.basis) == ("abnormal", Basis.RULE)
    assert verdict.primary.probability == pytest.approx(0.99)
    assert [(row.code, row.state) for row in verdict.findings] == [
        ("glioma", State.PRESENT),
        ("meningioma", State.ABSENT),
        ("pituitary_tumor", State.ABSENT),
        ("brain_tumor", State.PRESENT),
    ]
    assert verdict.findings[-1].probability == pytest.approx(0.99)
    assert verdict.risk.score == pytest.approx(100 * (0.97 * 0.9 + 0.02 * 0.6))
    assert (verdict.risk.level, verdict.severity.level, verdict.urgency) == ("CRITICAL", "critical", Urgency.URGENT)
    assert (verdict.conformal_set.coverage, verdict.conformal_set.terms) == (0.95, ("glioma",))
    assert verdict.leading_term == "glioma"
    assert verdict.probabilities == pytest.approx(dict(zip(RULES.group("brain").terms, GLIOMA, strict=True)))
    assert verdict.router["brain"] == pytest.approx(0.94)
    assert verdict.refusal_scores == pytest.approx({"early": 0.5, "grid": 0.5})


def test_a_normal_answer() -> None:
    """A normal chest has no PRESENT row, ROUTINE urgency and still names what an explanation would be of."""
    verdict = decide(RULES, SCORER, CaseFacts(), make_outputs("chest", NORMAL_CHEST))
    assert [row.state for row in verdict.findings] == [State.ABSENT]
    assert (verdict.urgency, verdict.leading_term) == (Urgency.ROUTINE, "pneumonia")


def test_the_phantom_group_answers_whatever_the_router_says() -> None:
    """Rule 3: region phantom, no router probability, no refusal score."""
    verdict = decide(RULES, SCORER, CaseFacts(**MARKED), make_outputs("phantom", (0.0, 0.0, 1.0), certainty=0.01))
    assert verdict.region == "phantom"
    assert (verdict.router, verdict.refusal_scores) == ({}, {})
    assert [row.code for row in verdict.findings] == ["phantom_lesion_bright", "phantom_lesion_dark"]


def test_a_bundle_without_phantoms_refuses_them() -> None:
    """Where no phantom group can answer, a marked test object is refused, not taken for a patient."""
    groups = tuple(make_group(region) for region in REGIONS[:3])
    router = RULES.router.model_copy(update={"regions": REGIONS[:3]})
    verdict = decide(make_rules(groups=groups, router=router), SCORER, CaseFacts(**MARKED), never)
    assert (verdict.reason, verdict.rule) == (Reason.QC_SUBJECT, 3)


def decide_chest(p: float, **changes: Any) -> Verdict:
    """The verdict on a chest image with pneumonia of ``p``."""
    return decide(make_rules(**changes), SCORER, CaseFacts(), make_outputs("chest", (1 - p, p)))


def chest_abnormal(p: float) -> float:
    """p(abnormal) as the code computes it from the logits of ``p``."""
    primary = decide_chest(p).primary
    assert primary is not None
    return primary.probability


def points(**point: float) -> dict[str, Any]:
    """Groups with another operating point and sets that hold everything."""
    fields: dict[str, Any] = {"low": 0.0, "high": 1.0, "point": 0.5, "separable": False}
    operating = OperatingPoint(**(fields | point))
    return {"groups": tuple(make_group(region, point=operating, quantile=1.0) for region in REGIONS)}


def test_the_operating_point_itself_is_present() -> None:
    """At the operating point a term is PRESENT, one double above it the point is missed."""
    p = chest_abnormal(0.7)
    assert decide_chest(0.7, **points(point=p)).findings[0].state is State.PRESENT
    assert decide_chest(0.7, **points(point=nextafter(p, 1))).findings[0].state is State.ABSENT


def test_both_ends_belong_to_the_band() -> None:
    """p equal to low or to high is BORDERLINE; one double outside either is not."""
    p = chest_abnormal(0.7)

    def reason(low: float, high: float) -> Reason | None:
        operating = OperatingPoint(low=low, high=high, point=0.5, separable=False)
        groups = tuple(make_group(region, point=operating, quantile=0.4) for region in REGIONS)
        return decide_chest(0.7, groups=groups).reason

    assert reason(p, 1.0) is Reason.BORDERLINE
    assert reason(0.0, p) is Reason.BORDERLINE
    assert reason(nextafter(p, 1), 1.0) is None
    assert reason(0.0, nextafter(p, 0)) is None


def test_a_band_of_one_point_is_empty_where_separable() -> None:
    """Where low equals high the data are separable: the common point accepts instead of referring."""
    p = chest_abnormal(0.7)
    operating = OperatingPoint(low=p, high=p, point=p, separable=True)
    groups = tuple(make_group(region, point=operating, quantile=0.4) for region in REGIONS)
    assert decide_chest(0.7, groups=groups).decision is Decision.ACCEPT


def test_the_router_threshold_itself_passes() -> None:
    """Only below the threshold is the region unknown."""
    outputs = make_outputs("chest", PNEUMONIA, certainty=0.9)
    p = max(decide(RULES, SCORER, CaseFacts(), outputs).router.values())

    def reason(threshold: float) -> Reason | None:
        router = RULES.router.model_copy(update={"threshold": threshold})
        return decide(make_rules(router=router), SCORER, CaseFacts(), outputs).reason

    assert reason(p) is None
    assert reason(nextafter(p, 1)) is Reason.UNKNOWN_REGION


def test_the_statistic_threshold_itself_passes() -> None:
    """Only beyond its threshold is a statistic out of distribution."""
    assert decide(RULES, SCORER, CaseFacts(), make_outputs("chest", PNEUMONIA, statistics=(2, 2, 2))).reason is None
    beyond = make_outputs("chest", PNEUMONIA, statistics=(0, 0, nextafter(2, 3)))
    assert decide(RULES, SCORER, CaseFacts(), beyond).reason is Reason.OUT_OF_DISTRIBUTION


@pytest.mark.parametrize(
    ("age", "modality", "outside"),
    [(0, "DX", False), (17, "DX", False), (17.1, "DX", True), (None, "DX", False), (40, None, True), (70, "CT", False)],
)
def test_ages(age: float | None, modality: str | None, outside: bool) -> None:
    """Both ends of a row's ages belong to it, an unknown age is no reason, and the row of the modality counts."""
    rows = (
        IntendedUse(modalities=("DX",), region="chest", age_min=0, age_max=17),
        IntendedUse(modalities=("CT",), region="chest", age_min=60),
    )
    assert is_outside_population(make_rules(intended_use=rows), "chest", modality, age) is outside


def test_further_terms_of_the_set_are_present() -> None:
    """At or above the operating point the leading term is PRESENT and so is every further one in the conformal set."""
    groups = tuple(make_group(region, quantile=0.7) for region in REGIONS)
    verdict = decide(make_rules(groups=groups), SCORER, CaseFacts(), make_outputs("brain", (0.02, 0.35, 0.6, 0.03)))
    assert verdict.reason is Reason.AMBIGUOUS
    assert {row.code for row in verdict.findings if row.state is State.PRESENT} == {
        "glioma",
        "meningioma",
        "brain_tumor",
    }
    assert verdict.urgency is Urgency.URGENT


def test_independent_groups() -> None:
    """Independent terms are judged each at its own point; any term within its band refers; no finding is {normal}."""
    terms = ("consolidation", "edema")
    group = make_group("chest", kind="independent", terms=terms)
    groups = (group, *(make_group(region) for region in REGIONS[1:]))

    def answer(*chances: float) -> Verdict:
        outputs = make_outputs("chest", (0.5, 0.5))
        logits = np.log(np.asarray(chances) / (1 - np.asarray(chances)))
        lazy = NetworkOutputs(outputs.router, {**outputs.logits, "chest": logits}, outputs.statistics)
        return decide(make_rules(groups=groups), SCORER, CaseFacts(), lazy)

    healthy, one, two = answer(0.01, 0.02), answer(0.97, 0.02), answer(0.97, 0.96)
    assert (healthy.decision, one.decision, two.reason) == (Decision.ACCEPT, Decision.ACCEPT, Reason.AMBIGUOUS)
    assert healthy.conformal_set is not None and healthy.conformal_set.terms == ("normal",)
    assert healthy.primary is not None and healthy.primary.probability == pytest.approx(1 - 0.99 * 0.98)
    assert [row.state for row in one.findings] == [State.PRESENT, State.ABSENT]
    assert answer(0.97, 0.45).reason is Reason.BORDERLINE


def test_calibration_is_applied() -> None:
    """The head's logits go through temperature and bias before anything is decided."""
    calibrated = make_group("chest", calibration=Calibration(temperature=2, bias=(0.5, -0.5)))
    groups = (calibrated, *(make_group(region) for region in REGIONS[1:]))
    verdict = decide(make_rules(groups=groups), SCORER, CaseFacts(), make_outputs("chest", (0.2, 0.8)))
    weights = np.exp(np.log([0.2, 0.8]) / 2 + [0.5, -0.5])
    assert list(verdict.probabilities.values()) == pytest.approx(list(weights / weights.sum()))


def test_outputs_are_evaluated_once_and_only_when_needed() -> None:
    """A callable is called exactly once."""
    calls: list[int] = []

    def lazily() -> NetworkOutputs:
        calls.append(1)
        return make_outputs("chest", PNEUMONIA)

    assert decide(RULES, SCORER, CaseFacts(), lazily).decision is Decision.ACCEPT
    assert len(calls) == 1


def broken(change: Callable[[NetworkOutputs], NetworkOutputs]) -> NetworkOutputs:
    """Good outputs after ``change``."""
    return change(make_outputs("chest", PNEUMONIA))


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        broken(lambda o: NetworkOutputs(o.router * np.nan, o.logits, o.statistics)),
        broken(lambda o: NetworkOutputs(o.router[:2], o.logits, o.statistics)),
        broken(lambda o: NetworkOutputs(o.router, {}, o.statistics)),
        broken(lambda o: NetworkOutputs(o.router, {**o.logits, "brain": np.full(4, np.inf)}, o.statistics)),
        broken(lambda o: NetworkOutputs(o.router, o.logits, o.statistics * np.nan)),
        broken(lambda o: NetworkOutputs(o.router, o.logits, o.statistics[:2])),
        broken(lambda o: NetworkOutputs(o.router[None], o.logits, o.statistics)),
    ],
)
def test_broken_outputs_are_a_typed_error(outputs: NetworkOutputs | None) -> None:
    """Missing, misshaped or non-finite outputs never become an answer."""
    with pytest.raises(InternalError):
        decide(RULES, SCORER, CaseFacts(), outputs)


def test_a_missing_score_is_an_error_not_a_pass() -> None:
    """A statistic that the rules name and the scorer lacks fails closed."""
    scorer = make_scorer()
    del scorer.scores["grid", "chest"]
    with pytest.raises(InternalError, match="grid"):
        decide(RULES, scorer, CaseFacts(), make_outputs("chest", PNEUMONIA))


def test_rules_without_statistics_still_decide() -> None:
    """A bundle with no feature statistic is decided by the other rules."""
    verdict = decide(
        make_rules(refusal=Refusal(file="f", statistics=())), SCORER, CaseFacts(), make_outputs("chest", PNEUMONIA)
    )
    assert verdict.decision is Decision.ACCEPT


def test_languages_and_the_rest_of_the_vocabulary() -> None:
    """Labels come in the asked language; on request every other code but `normal` follows as NOT_ASSESSED."""
    verdict = decide(RULES, SCORER, CaseFacts(), make_outputs("brain", GLIOMA), language="fr", all_findings=True)
    codes = [row.code for row in verdict.findings]
    assert verdict.findings[1].label == "méningiome"
    assert len(set(codes)) == len(codes)
    assert "normal" not in codes and "pneumonia" in codes
    rest = verdict.findings[4:]
    assert {(row.state, row.probability) for row in rest} == {(State.NOT_ASSESSED, None)}


CHANCES = st.lists(st.floats(1e-6, 1), min_size=4, max_size=4).map(lambda v: tuple(np.asarray(v) / np.sum(v)))


@given(CHANCES, st.floats(0.3, 1), st.floats(0, 4), st.floats(0, 1), st.floats(0, 1))
def test_laws_of_any_answer(
    chances: tuple[float, ...], certainty: float, oddness: float, quantile: float, point: float
) -> None:
    """REFUSE is empty, a parent is PRESENT with a child, ACCEPT has one consistent term, rules fit decisions."""
    operating = OperatingPoint(low=point / 2, high=(1 + point) / 2, point=point, separable=False)
    groups = tuple(make_group(region, point=operating, quantile=quantile) for region in REGIONS)
    outputs = make_outputs("brain", chances, certainty=certainty, statistics=(oddness,) * 3)
    verdict = decide(make_rules(groups=groups), SCORER, CaseFacts(), outputs)
    if verdict.decision is Decision.REFUSE:
        assert verdict.rule in (5, 6) and not verdict.findings
        return
    states = {row.code: row.state for row in verdict.findings}
    assert verdict.conformal_set is not None and verdict.conformal_set.terms
    assert (states["brain_tumor"] is State.PRESENT) == (State.PRESENT in list(states.values())[:3])
    assert (verdict.rule, verdict.decision) in ((7, Decision.REFER), (8, Decision.ACCEPT))
    if verdict.decision is Decision.ACCEPT:
        (term,) = verdict.conformal_set.terms
        assert (term == "normal") == (State.PRESENT not in states.values())
