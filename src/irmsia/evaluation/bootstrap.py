"""The interval of any metric by resampling whole patients or clusters: images of one patient are no independent draws.

`irmsia.evaluation.resampling` does the same for metrics that are written for all draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from irmsia.evaluation.estimate import EXACT, TAIL, Estimate, bounded, exact_bounds, undefined

_DRAWS = 1000


def group_bootstrap(
    groups: Sequence[str], metric: Callable[[NDArray[np.int64]], float], *, seed: int, draws: int = _DRAWS
) -> Estimate:
    """Return a metric with its percentile interval over resampled groups.

    Draws in which the metric is not defined (a class is missing) are left out. A share of exactly 0 or 1 does not vary
    between draws; its other end is the exact binomial bound on the groups that take part.

    Args:
        groups: (n,) the group of each image.
        metric: from (m,) indices of images, repeated as drawn, to a number in 0..1, NaN where it is not defined.
        seed: of the draws.
        draws: how many.
    """
    members = _members(groups)
    value = metric(np.arange(len(groups)))
    if not np.isfinite(value):
        return undefined("not defined on these images", n=len(groups), groups=len(members))
    order = np.random.default_rng(seed)
    values = [metric(_draw(members, order)) for _ in range(draws)]
    drawn = np.array([value for value in values if np.isfinite(value)])
    point = Estimate(value=float(value), low=None, high=None, n=len(groups), groups=len(members))
    if value in (0.0, 1.0) and not np.any(drawn != value):
        low, high = exact_bounds(value, sum(np.isfinite(metric(one)) for one in members) or len(members))
        return Estimate(value=float(value), low=low, high=high, n=len(groups), groups=len(members), method=EXACT)
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL]) if len(drawn) else (np.nan, np.nan)
    return bounded(point, float(low), float(high), reason="not defined in any resample")


def _members(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    names = np.asarray(groups)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]


def _draw(members: list[NDArray[np.int64]], order: np.random.Generator) -> NDArray[np.int64]:
    chosen = order.integers(len(members), size=len(members))
    return np.concatenate([members[index] for index in chosen])
