from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from irmsia.findings.rules import Calibration, IntendedUse, ModelRules, Refusal, Router, Statistic
from tests.findings.cases import REGIONS, make_group, make_rules


def test_rules_survive_json() -> None:
    """The manifest's part comes back equal from its JSON, every double included."""
    rules = make_rules()
    assert ModelRules.model_validate_json(rules.model_dump_json()) == rules


def test_group_by_region() -> None:
    """A group is found by its region; another region is a KeyError."""
    assert make_rules().group("brain").terms[1] == "glioma"
    with pytest.raises(KeyError):
        make_rules().group("knee")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"terms": ("normal",)}, "too few"),
        ({"terms": ("normal", "glioma", "glioma")}, "twice"),
        ({"terms": ("normal", "unheard_of")}, "outside the vocabulary"),
        ({"terms": ("glioma", "meningioma")}, "every exclusive group"),
        ({"terms": ("normal", "edema"), "kind": "independent"}, "every exclusive group"),
        ({"calibration": Calibration(temperature=1, bias=(0.0,))}, "bias and prior"),
        ({"prior": (1.0,)}, "bias and prior"),
        ({"operating_points": ()}, "operating points"),
        ({"conformal": make_group("brain").conformal}, "conformal quantiles"),
    ],
)
def test_a_broken_group_is_rejected(changes: dict[str, Any], match: str) -> None:
    """Lengths that do not fit, foreign terms and groups without `normal` never load."""
    with pytest.raises(ValidationError, match=match):
        make_group("chest", **changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"groups": tuple(make_group(region) for region in REGIONS[:2])}, "one label group"),
        ({"groups": tuple(make_group(region) for region in (*REGIONS, "brain"))}, "one label group"),
        (
            {"refusal": Refusal(file="f", statistics=(Statistic(name="a", start=0, stop=1, thresholds={"chest": 1}),))},
            r"no threshold for \['brain', 'breast'\]",
        ),
        (
            {
                "refusal": Refusal(
                    file="f",
                    statistics=(
                        Statistic(name="a", start=0, stop=1, thresholds=dict.fromkeys(REGIONS, 1.0)),
                        Statistic(name="a", start=1, stop=2, thresholds=dict.fromkeys(REGIONS, 1.0)),
                    ),
                )
            },
            "named twice",
        ),
    ],
)
def test_broken_rules_are_rejected(changes: dict[str, Any], match: str) -> None:
    """A region without group or threshold would be a gap in the decision: it does not load."""
    with pytest.raises(ValidationError, match=match):
        make_rules(**changes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_numbers_out_of_range_are_rejected(value: float) -> None:
    """Probabilities are finite and within 0..1."""
    with pytest.raises(ValidationError):
        Router(regions=("chest",), threshold=value)


def test_odd_parts_are_rejected() -> None:
    """A double region, an empty slice and an unknown key do not load."""
    with pytest.raises(ValidationError, match="twice"):
        Router(regions=("chest", "chest"), threshold=0.5)
    with pytest.raises(ValidationError, match="empty slice"):
        Statistic(name="a", start=3, stop=3, thresholds={})
    with pytest.raises(ValidationError, match="extra"):
        IntendedUse.model_validate({"modalities": ["MR"], "region": "brain", "sex": "F"})
