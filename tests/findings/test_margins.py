from __future__ import annotations

import numpy as np
import pytest

from irmsia.findings.margins import group_margins, is_gap, router_margins, statistic_margins
from irmsia.findings.rules import OperatingPoint, Router
from tests.findings.cases import make_group


def test_margins_of_an_exclusive_group() -> None:
    """Every threshold of the group, signed so that 0 or more is above it, inside the band, in the set."""
    margins = group_margins(make_group("brain", quantile=0.3), np.array([0.25, 0.5, 0.2, 0.05]))
    assert margins == pytest.approx(
        {
            "operating_point:brain": 0.25,
            "band_low:brain": 0.35,
            "band_high:brain": -0.15,
            "conformal:brain:normal": -0.45,
            "conformal:brain:glioma": -0.2,
            "conformal:brain:meningioma": -0.5,
            "conformal:brain:pituitary_tumor": -0.65,
            "top_gap:brain:glioma": 0.125,
            "leading_gap:brain:glioma": 0.15,
        }
    )


def test_margins_of_an_independent_group() -> None:
    """Points and bands a term; the conformal space has `normal` too; no band where separable."""
    apart = OperatingPoint(low=0.6, high=0.4, point=0.5, separable=True)
    group = make_group("chest", kind="independent", terms=("edema", "stroke"), point=apart)
    margins = group_margins(group, np.array([0.8, 0.1]))
    assert margins["operating_point:chest:edema"] == pytest.approx(0.3)
    assert margins["conformal:chest:normal"] == pytest.approx(0.3 - (1 - 0.2 * 0.9))
    assert not any(name.startswith("band") for name in margins)


def test_margins_of_router_and_statistics() -> None:
    """The router's distance to its threshold and to the next region; scores relative to their thresholds."""
    found = router_margins(np.array([0.7, 0.2, 0.1]), Router(regions=("chest", "brain", "phantom"), threshold=0.6))
    assert found == pytest.approx({"router": 0.1, "router_gap:chest": 0.25})
    assert statistic_margins({"early": 1.5, "grid": 3.0}, {"early": 2.0, "grid": 2.0}) == {
        "statistic:early": 0.25,
        "statistic:grid": -0.5,
    }
    assert is_gap("router_gap:chest") and not is_gap("router")
