from __future__ import annotations

import numpy as np
import pytest

from irmsia.findings.rows import leading_term, list_parents, make_rows, present_terms
from irmsia.findings.types import State
from tests.findings.cases import make_group


def test_ties_go_to_the_first_term() -> None:
    """Of two equally probable terms the first of the group leads, so that every runtime says the same."""
    assert leading_term(make_group("brain"), np.array([0.1, 0.3, 0.3, 0.3])) == "glioma"


def test_parent_of_an_exclusive_group_is_the_sum() -> None:
    """brain_tumor = glioma + meningioma + pituitary_tumor, never above 1."""
    chances = {"normal": 0.0, "glioma": 0.5, "meningioma": 0.3, "pituitary_tumor": 0.2 + 1e-12}
    rows = make_rows(make_group("brain"), chances, ())
    assert (rows[-1].code, rows[-1].probability, rows[-1].state) == ("brain_tumor", 1.0, State.ABSENT)


def test_parent_of_an_independent_group() -> None:
    """1 - product of (1 - p) over the children the group has."""
    group = make_group("brain", kind="independent", terms=("glioma", "stroke", "meningioma"))
    rows = make_rows(group, {"glioma": 0.5, "stroke": 0.9, "meningioma": 0.2}, ("meningioma",))
    assert [row.code for row in rows] == ["glioma", "stroke", "meningioma", "brain_tumor"]
    assert rows[-1].probability == pytest.approx(0.6)
    assert rows[-1].state is State.PRESENT


def test_a_parent_that_is_a_term_has_one_row() -> None:
    """A group that answers the parent itself gets no second row for it."""
    group = make_group("brain", terms=("normal", "brain_tumor", "glioma"))
    assert list_parents(group) == {}
    rows = make_rows(group, {"normal": 0.2, "brain_tumor": 0.5, "glioma": 0.3}, ("brain_tumor",))
    assert [row.code for row in rows] == ["brain_tumor", "glioma"]


def test_normal_is_never_present() -> None:
    """`normal` in the conformal set beside a disease does not become a finding."""
    chances = np.array([0.4, 0.35, 0.15, 0.1])
    assert present_terms(make_group("brain"), chances, ("normal", "glioma")) == ("glioma",)


def test_below_the_point_nothing_is_present() -> None:
    """The conformal set alone makes nothing PRESENT."""
    assert present_terms(make_group("brain"), np.array([0.6, 0.3, 0.05, 0.05]), ("glioma", "meningioma")) == ()


def test_the_point_of_an_independent_term_is_present() -> None:
    """At its own operating point a term is PRESENT, one double below it is not."""
    group = make_group("chest", kind="independent", terms=("edema", "stroke"))
    assert present_terms(group, np.array([0.5, np.nextafter(0.5, 0)]), ()) == ("edema",)
