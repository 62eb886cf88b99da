"""A measured number with its 95 % interval, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
BOOTSTRAP = "cluster bootstrap"
EXACT = "exact binomial over groups"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, from ``n`` images in ``groups`` patients or clusters.

    Attributes:
        value: null where the metric is not defined on these images.
        low: lower bound; null where there is none.
        high: upper bound; null where there is none.
        n: images that take part (of a sensitivity: the positives).
        groups: patients or clusters that they come from.
        method: how the interval was made.
        reason: why something is null, else null.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int
    method: str = BOOTSTRAP
    reason: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the value and both bounds are there."""
        return self.value is not None and self.low is not None and self.high is not None

    def to_json(self) -> dict[str, Any]:
        """Every field; never a number that is not finite."""
        return asdict(self)


def undefined(reason: str, *, n: int, groups: int) -> Estimate:
    """The estimate of a metric that these images do not define."""
    return Estimate(value=None, low=None, high=None, n=n, groups=groups, reason=reason)


def bounded(estimate: Estimate, low: float, high: float, *, reason: str) -> Estimate:
    """``estimate`` with an interval, in which a bound that is not finite becomes null with ``reason``."""
    bounds = [bound if math.isfinite(bound) else None for bound in (low, high)]
    return replace(estimate, low=bounds[0], high=bounds[1], reason=reason if None in bounds else None)


def exact_bounds(share: float, groups: int) -> tuple[float, float]:
    """The interval of a share of exactly 0 or 1 seen in ``groups`` groups (Clopper and Pearson, 1934)."""
    bound = float(TAIL ** (1 / max(groups, 1)))
    return (bound, 1.0) if share == 1.0 else (0.0, 1 - bound)
