"""Intervals by resampling whole patients or clusters: images of one patient are no independent draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEVEL = 0.95
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, from ``n`` images in ``groups`` patients or clusters."""

    value: float
    low: float
    high: float
    n: int
    groups: int


def group_bootstrap(
    groups: Sequence[str], metric: Callable[[NDArray[np.int64]], float], *, seed: int, draws: int = _DRAWS
) -> Estimate:
    """Return a metric with its percentile interval over resampled groups.

    Draws in which the metric is not defined (a class is missing) are left out; where none is left the interval is 0..1.
    (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.) A share of exactly 0 or 1 does
    not vary between draws; its other end is the exact binomial bound on the groups that take part (Clopper and Pearson,
    1934).

    Args:
        groups: (n,) the group of each image.
        metric: from (m,) indices of images, repeated as drawn, to a number in 0..1, NaN where it is not defined.
        seed: of the draws.
        draws: how many.
    """
    members = _members(groups)
    order = np.random.default_rng(seed)
    values = [metric(_draw(members, order)) for _ in range(draws)] if members else []
    defined = [value for value in values if np.isfinite(value)]
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if defined else (0.0, 1.0)
    value = metric(np.arange(len(groups)))
    if low == high and value in (0.0, 1.0):
        low, high = _exact(value, sum(np.isfinite(metric(one)) for one in members) or len(members))
    return Estimate(value=value, low=float(low), high=float(high), n=len(groups), groups=len(members))


def _exact(share: float, groups: int) -> tuple[float, float]:
    bound = float(((1 - _LEVEL) / 2) ** (1 / groups))
    return (bound, 1.0) if share == 1.0 else (0.0, 1 - bound)


def _members(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    names = np.asarray(groups)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]


def _draw(members: list[NDArray[np.int64]], order: np.random.Generator) -> NDArray[np.int64]:
    chosen = order.integers(len(members), size=len(members))
    return np.concatenate([members[index] for index in chosen])
