"""Margins: each quantity of an answer less the threshold it was held against; 0 or more on one side, less on the other.

| name | margin |
|---|---|
| `router` | largest router probability - threshold |
| `router_gap:<region>` | half of: p of that region, which the router chose, - the next one |
| `statistic:<name>` | (threshold - score) / threshold, relative |
| `operating_point:<region>[:<term>]` | p(abnormal), or p(term) of an independent group, - operating point |
| `band_low:...`, `band_high:...` | p - low, high - p, where the referral band is not empty |
| `conformal:<region>:<term>` | quantile - (1 - p): 0 or more is in the set |
| `leading_gap:<region>:<term>` | half of: p of that leading term - the next one other than normal |
| `top_gap:<region>:<term>` | half of: p of that largest term of the conformal space - the next one |

A gap counts half: by so much each of the two has to move before they change places.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from irmsia.findings.arrays import Array
from irmsia.findings.conformal import to_space
from irmsia.findings.operating import abnormal_probability
from irmsia.findings.rules import LabelGroup, Router, conformal_space
from irmsia.findings.vocabulary import NORMAL

RELATIVE = "statistic:"
_GAPS = ("router_gap:", "top_gap:", "leading_gap:")


def is_gap(name: str) -> bool:
    """Whether a margin tells the first of several from the next; its name ends with the first."""
    return name.startswith(_GAPS)


def router_margins(chances: Array, router: Router) -> dict[str, float]:
    """Margins of router probabilities (R,)."""
    by_region = dict(zip(router.regions, chances.tolist(), strict=True))
    return {"router": max(by_region.values()) - router.threshold} | _gap("router_gap", by_region)


def statistic_margins(scores: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, float]:
    """Relative margins of refusal scores."""
    return {f"{RELATIVE}{name}": (limit - scores[name]) / limit for name, limit in limits.items()}


def group_margins(group: LabelGroup, probabilities: Array) -> dict[str, float]:
    """Margins of a group's calibrated probabilities (K,)."""
    return _point_margins(group, probabilities) | _conformal_margins(group, probabilities) | _gaps(group, probabilities)


def _point_margins(group: LabelGroup, probabilities: Array) -> dict[str, float]:
    if group.kind == "exclusive":
        values = {group.region: float(abnormal_probability(probabilities, group.terms, group.kind))}
    else:
        values = {f"{group.region}:{term}": float(p) for term, p in zip(group.terms, probabilities, strict=True)}
    margins: dict[str, float] = {}
    for (name, value), point in zip(values.items(), group.operating_points, strict=True):
        margins[f"operating_point:{name}"] = value - point.point
        if not point.separable:
            margins[f"band_low:{name}"] = value - point.low
            margins[f"band_high:{name}"] = point.high - value
    return margins


def _conformal_margins(group: LabelGroup, probabilities: Array) -> dict[str, float]:
    space = conformal_space(group.terms, group.kind)
    values = to_space(probabilities, group.terms, group.kind)
    distances = np.asarray(group.conformal.quantiles) - (1.0 - values)
    return {f"conformal:{group.region}:{term}": float(value) for term, value in zip(space, distances, strict=True)}


def _gaps(group: LabelGroup, probabilities: Array) -> dict[str, float]:
    space = conformal_space(group.terms, group.kind)
    values = dict(zip(space, to_space(probabilities, group.terms, group.kind).tolist(), strict=True))
    abnormal = {term: p for term, p in values.items() if term != NORMAL}
    return _gap(f"top_gap:{group.region}", values) | _gap(f"leading_gap:{group.region}", abnormal)


def _gap(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """Half of what parts the largest of ``values`` from the next one, by the name of the largest."""
    if len(values) < 2:
        return {}
    first, second = sorted(values, key=lambda term: -values[term])[:2]
    return {f"{name}:{first}": (values[first] - values[second]) / 2}
