"""The cluster bootstrap, all draws at once: groups are drawn with replacement, their images come along as weights.

A draw is a row of weights, how often each group was drawn, and row 0 is the sample itself. Whatever is a function of
sums over images then costs one product of matrices; what needs the images' order gets their weights in chunks. Groups
are numbered by name, so that the order of the images changes nothing. (Davison and Hinkley, "Bootstrap Methods and
their Application", 1997, section 3.8; Field and Welsh, J. R. Stat. Soc. B 69, 2007.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.evaluation.estimate import EXACT, TAIL, Estimate, bounded, exact_bounds, undefined
from irmsia.findings.arrays import Array

Mask = NDArray[np.bool_]

_DRAWS = 2000
_FEWEST_DRAWS = 200
_BUDGET = 40_000_000
"""Draws times images; beyond it fewer draws are made."""
_CHUNK = 2_000_000
_UNDEFINED_AT_MOST = 0.2
_TOO_FEW = "too few groups: the metric is not defined in most resamples"
_UNBOUNDED = "unbounded: the classes are separated in some resamples"


class Resampling:
    """Resamples of one set of images, the same for every metric, so that two metrics can be compared.

    Args:
        groups: (n,) patient or cluster of each image.
        seed: of the draws.
        draws: null for 2,000, fewer for very large sets.
    """

    def __init__(self, groups: Sequence[str], *, seed: int = 0, draws: int | None = None) -> None:
        names, self._group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self.groups, self.n = len(names), len(self._group)
        self.draws = draws or int(np.clip(_BUDGET // max(self.n, 1), _FEWEST_DRAWS, _DRAWS))
        self._weights = np.ones((self.draws + 1, self.groups))
        if self.groups:
            drawn = np.random.default_rng(seed).multinomial(
                self.groups, np.full(self.groups, 1 / self.groups), size=self.draws
            )
            self._weights[1:] = drawn

    def sums(self, values: ArrayLike) -> Array:
        """(draws + 1, F) weighted sums of ``values`` (n, F) or (n,)."""
        columns = np.asarray(values, dtype=np.float64).reshape(self.n, -1)
        totals = np.stack(
            [np.bincount(self._group, weights=column, minlength=self.groups) for column in columns.T], axis=1
        )
        return np.asarray(self._weights @ totals)

    def over_images(self, metric: Callable[[Array], Array]) -> Array:
        """(draws + 1, ...) of a metric from the images' weights (b, n) to (b, ...), some rows at a time."""
        rows = max(1, _CHUNK // max(self.n, 1))
        parts = [
            metric(self._weights[start : start + rows][:, self._group]) for start in range(0, self.draws + 1, rows)
        ]
        return np.concatenate(parts)

    def count_groups(self, among: Mask) -> int:
        """How many groups hold at least one image of ``among`` (n,)."""
        return len(np.unique(self._group[among]))

    def share(self, holds: Mask, among: Mask | None = None) -> Estimate:
        """The share of ``holds`` (n,) among images; exact bounds where it is 0 or 1."""
        return self.mean(np.asarray(holds, dtype=np.float64), among, share=True)

    def mean(self, values: ArrayLike, among: Mask | None = None, *, share: bool = False) -> Estimate:
        """The mean of ``values`` (n,) among images."""
        chosen = np.ones(self.n, dtype=bool) if among is None else among
        sums = self.sums(np.stack([np.where(chosen, values, 0.0), chosen], axis=1))
        return self.estimate(ratio(sums[:, 0], sums[:, 1]), chosen, share=share, absent="no such image")

    def estimate(self, values: Array, among: Mask | None = None, *, share: bool = False, absent: str = "") -> Estimate:
        """A metric's estimate from its value in every draw (draws + 1,), by percentiles.

        Args:
            values: row 0 of the sample itself; NaN where the metric is not defined, infinite where it is unbounded.
            among: images that take part, all where null.
            share: 0 and 1 are its ends: without variation the exact binomial bound of the groups is taken.
            absent: why row 0 may not be defined.
        """
        n, groups = (self.n, self.groups) if among is None else (int(among.sum()), self.count_groups(among))
        if not np.isfinite(values[0]):
            return undefined(absent or "not defined on these images", n=n, groups=groups)
        value = float(values[0])
        drawn = values[1:][~np.isnan(values[1:])]
        point = Estimate(value=value, low=None, high=None, n=n, groups=groups)
        if share and value in (0.0, 1.0) and not np.any(drawn != value):
            low, high = exact_bounds(value, groups)
            return Estimate(value=value, low=low, high=high, n=n, groups=groups, method=EXACT)
        if groups < 2 or len(drawn) < (1 - _UNDEFINED_AT_MOST) * self.draws:
            return bounded(point, np.nan, np.nan, reason=_TOO_FEW)
        low, high = np.quantile(drawn, [TAIL, 1 - TAIL], method="inverted_cdf")
        return bounded(point, float(low), float(high), reason=_UNBOUNDED)

    def estimate_normal(self, values: Array) -> Estimate:
        """As `estimate`, by the value and 1.96 standard deviations of the draws, within 0..1.

        For a metric that resampling itself pushes upwards (a calibration error): percentiles would leave the value out.
        """
        value, spread = float(values[0]), 1.959964 * float(np.std(values[1:]))
        return Estimate(
            value=value,
            low=max(0.0, value - spread),
            high=min(1.0, value + spread),
            n=self.n,
            groups=self.groups,
            method="bootstrap standard error",
        )


def ratio(numerator: Array, denominator: Array) -> Array:
    """Element-wise quotient; NaN where the denominator is 0."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, np.nan, numerator / safe)
