from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.findings.decision import CaseFacts, NetworkOutputs, Verdict, decide
from irmsia.findings.flips import Flip, compare_verdicts
from irmsia.findings.rules import IntendedUse
from irmsia.findings.types import Decision
from tests.findings.cases import REGIONS, make_group, make_outputs, make_rules, make_scorer

RULES, SCORER = make_rules(), make_scorer()


def answer(outputs: NetworkOutputs, *, quantile: float = 0.3) -> Verdict:
    """The verdict on ``outputs``."""
    groups = tuple(make_group(region, quantile=quantile) for region in REGIONS)
    return decide(make_rules(groups=groups), SCORER, CaseFacts(), outputs)


def compare(reference: Verdict, other: Verdict, tolerance: float = 0.01) -> Flip | None:
    """The flip at one tolerance for probabilities and scores."""
    return compare_verdicts(reference, other, tolerance=tolerance, relative_tolerance=tolerance)


def test_same_answers_do_not_flip() -> None:
    """A small change of probability without a change of decision or state is no flip."""
    assert compare(answer(make_outputs("chest", (0.1, 0.9))), answer(make_outputs("chest", (0.12, 0.88)))) is None


@pytest.mark.parametrize(
    ("reference", "other", "quantity"),
    [
        (make_outputs("chest", (0.395, 0.605)), make_outputs("chest", (0.405, 0.595)), "band_high:chest"),
        (make_outputs("chest", (0.605, 0.395)), make_outputs("chest", (0.595, 0.405)), "band_low:chest"),
        (make_outputs("chest", (0.505, 0.495)), make_outputs("chest", (0.495, 0.505)), "operating_point:chest"),
        (
            make_outputs("brain", (0.1, 0.45, 0.449, 0.001)),
            make_outputs("brain", (0.1, 0.449, 0.45, 0.001)),
            "leading_gap:brain:glioma",
        ),
        (make_outputs("chest", (0, 1), certainty=0.805), make_outputs("chest", (0, 1), certainty=0.795), "router"),
        (
            make_outputs("chest", (0, 1), statistics=(0, 0, 1.99)),
            make_outputs("chest", (0, 1), statistics=(0, 0, 2.01)),
            "statistic:grid",
        ),
        (
            make_outputs("chest", (0, 1), statistics=(0, 0, 2.01)),
            make_outputs("chest", (0, 1), statistics=(0, 0, 1.99)),
            "statistic:grid",
        ),
    ],
)
def test_a_near_miss_is_excused(reference: NetworkOutputs, other: NetworkOutputs, quantity: str) -> None:
    """A flip whose deciding quantity stood within the tolerance of its threshold names it and is excused."""
    flip = compare(answer(reference), answer(other))
    assert flip is not None
    assert quantity in flip.quantities
    assert flip.excused


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        (make_outputs("chest", (0.3, 0.7)), make_outputs("chest", (0.41, 0.59))),
        (make_outputs("chest", (0, 1), certainty=0.9), make_outputs("chest", (0, 1), certainty=0.7)),
        (make_outputs("chest", (0, 1)), make_outputs("brain", (0, 0, 0, 1))),
        (make_outputs("chest", (0, 1)), make_outputs("chest", (0, 1), statistics=(0, 0, 2.5))),
        (make_outputs("brain", (0.1, 0.6, 0.2, 0.1)), make_outputs("brain", (0.1, 0.2, 0.6, 0.1))),
    ],
)
def test_a_wide_miss_is_not_excused(reference: NetworkOutputs, other: NetworkOutputs) -> None:
    """A flip from far away is the runtime's fault."""
    flip = compare(answer(reference), answer(other))
    assert flip is not None
    assert not flip.excused


def test_bf16_is_given_more() -> None:
    """What .01 does not excuse, .03 may."""
    reference, other = answer(make_outputs("chest", (0.38, 0.62))), answer(make_outputs("chest", (0.41, 0.59)))
    tight, wide = compare(reference, other), compare(reference, other, 0.03)
    assert tight is not None and wide is not None
    assert (tight.excused, wide.excused) == (False, True)


def test_states_alone_can_flip() -> None:
    """Both REFER, but another term PRESENT: a flip of states that names the codes."""
    facts = CaseFacts(age_years=40)
    outputs = make_outputs("brain", (0.1, 0.45, 0.44, 0.01)), make_outputs("brain", (0.1, 0.44, 0.45, 0.01))
    rules = make_rules(intended_use=(IntendedUse(modalities=("MR",), region="brain", age_max=17),))
    reference, other = (decide(rules, SCORER, facts, given) for given in outputs)
    assert reference.decision is other.decision is Decision.REFER
    flip = compare(reference, other)
    assert flip is not None and not flip.decision_changed
    assert flip.states_changed == ("glioma", "meningioma")
    assert flip.excused


def test_an_unexplained_flip_is_not_excused() -> None:
    """A changed decision without any quantity that changed sides is a bug, not a near miss."""
    reference = answer(make_outputs("chest", (0.1, 0.9)))
    flip = compare(reference, replace(reference, decision=Decision.REFER))
    assert flip is not None
    assert (flip.quantities, flip.excused) == ({}, False)


LOGITS = st.lists(st.floats(-4, 4), min_size=4, max_size=4).map(np.asarray)


@given(LOGITS, LOGITS, st.floats(0, 0.02), st.floats(0.3, 0.9))
def test_small_noise_is_always_excused(logits: np.ndarray, noise: np.ndarray, scale: float, quantile: float) -> None:
    """Whatever flips under a change of all probabilities by less than the tolerance is explained and excused."""
    outputs = make_outputs("brain", (0.25,) * 4)
    moved = np.asarray(logits) + scale * noise
    before, after = (
        answer(
            NetworkOutputs(outputs.router, {**outputs.logits, "brain": values}, outputs.statistics), quantile=quantile
        )
        for values in (logits, moved)
    )
    change = max(abs(before.probabilities[term] - after.probabilities[term]) for term in before.probabilities)
    flip = compare(before, after, change + 1e-9)
    assert flip is None or flip.excused
