"""Fitting of rules 5 and 6: parameters of the refusal scores, then thresholds that share one budget of false refusals.

Fit the parameters on a part that saw no gradient where there is enough of it, else on the training part; take the
thresholds on validation in any case: what a network does to images it was trained on says little about new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.errors import InvalidRequestError
from irmsia.findings.arrays import Array, check_length, to_matrix
from irmsia.findings.calibration import softmax
from irmsia.findings.ranks import floor_share
from irmsia.findings.refusal import Mahalanobis, PcaResidual, RefusalScores, Score
from irmsia.findings.rules import Refusal, RefusalShare, Router, Statistic
from irmsia.findings.vocabulary import PHANTOM_REGION

BUDGET = 0.025
LEAST_SHRINKAGE = 1e-3
# Thresholds stand at most this far (relative; the router's absolute) beyond the last kept image, so that rounding at
# another precision does not refuse it.
SCORE_SLACK = 0.01
ROUTER_SLACK = 0.001

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StatisticPlan:
    """A statistic to fit: the slice [start, stop) of ``statistics``, its kind, and the most ``components`` of a PCA."""

    name: str
    start: int
    stop: int
    method: Literal["mahalanobis", "pca_residual"]
    components: int = 64


def fit_refusal_scores(statistics: ArrayLike, regions: Sequence[str], plan: Sequence[StatisticPlan]) -> RefusalScores:
    """Parameters of each statistic of ``plan`` for each region, from ``statistics`` (N, D) of images of ``regions``.

    Phantom rows are left out: test objects skip rule 6. Raises `InvalidRequestError`.
    """
    matrix = to_matrix(statistics, "statistics")
    check_length(regions, len(matrix), "regions")
    scores: dict[tuple[str, str], Score] = {}
    for entry in plan:
        if not 0 <= entry.start < entry.stop <= matrix.shape[1] or "/" in entry.name:
            raise InvalidRequestError(f"statistic {entry.name!r} is no slice of {matrix.shape[1]} values")
        for region, rows in _rows_by_region(regions).items():
            scores[entry.name, region] = _fit_score(matrix[rows, entry.start : entry.stop], entry)
    if not scores or len(scores) != len(plan) * len(_rows_by_region(regions)):
        raise InvalidRequestError("refusal scores need named statistics, each once, and images of a region")
    return RefusalScores({entry.name: (entry.start, entry.stop) for entry in plan}, scores)


def _rows_by_region(regions: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    names = np.asarray(regions, dtype=object)
    return {name: np.flatnonzero(names == name) for name in sorted(set(regions) - {PHANTOM_REGION})}


def _fit_score(features: Array, entry: StatisticPlan) -> Score:
    if entry.method == "mahalanobis":
        return fit_mahalanobis(features)
    return fit_pca_residual(features, entry.components)


def fit_mahalanobis(features: Array) -> Mahalanobis:
    """Mean and whitening of ``features`` (n, d), the correlation shrunk towards the identity as Ledoit and Wolf do.

    "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88, 2004.
    """
    mean, spread = _centre(features)
    scaled = (features - mean) / spread
    values, vectors = np.linalg.eigh(_shrunk_covariance(scaled))
    whitening = (vectors / np.sqrt(values)).T / spread
    return Mahalanobis(mean, whitening.astype(np.float32))


def _centre(features: Array) -> tuple[Array, Array]:
    """Mean and spread; a floor under the spread keeps the rounding of a nearly constant channel from deciding."""
    spread = features.std(axis=0)
    floor = max(0.05 * float(np.median(spread)), 1e-6)
    return features.mean(axis=0), np.maximum(spread, floor)


def _shrunk_covariance(scaled: Array) -> Array:
    rows, size = scaled.shape
    sample = scaled.T @ scaled / rows
    scale = float(np.trace(sample)) / size
    if scale <= 0:  # one image, or all of them equal: nothing known but the centre
        return np.eye(size)
    distance = float(((sample - scale * np.eye(size)) ** 2).sum())
    noise = float(((scaled**2).sum(axis=1) ** 2).sum() - rows * (sample**2).sum()) / rows**2
    share = 1.0 if distance <= 0 else float(np.clip(noise / distance, LEAST_SHRINKAGE, 1.0))
    return np.asarray((1 - share) * sample + share * scale * np.eye(size))


def fit_pca_residual(features: Array, components: int) -> PcaResidual:
    """Principal components of standardised ``features`` (n, d), at most half as many as images, and the rest."""
    rows, size = features.shape
    mean, spread = _centre(features)
    scaled = (features - mean) / spread
    _, strengths, directions = np.linalg.svd(scaled, full_matrices=False)
    variances = strengths**2 / rows
    useful = int(np.count_nonzero(variances > 1e-9 * max(float(variances[0]), 1e-9)))
    kept = max(0, min(components, (rows - 1) // 2, size - 1, useful))
    residual = max(float(variances[kept:].sum()), 1e-3 * size)
    return PcaResidual(
        mean, spread, directions[:kept].astype(np.float32), variances[:kept], np.asarray([residual], dtype=np.float64)
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One region's validation images: ``certainty`` (n,) of the router, ``scores`` (n, S), which are ``misrouted``."""

    certainty: Array
    scores: Array
    misrouted: Mask
    allowed: int


def fit_refusal_thresholds(
    router_logits: ArrayLike,
    statistics: ArrayLike,
    regions: Sequence[str],
    *,
    scorer: RefusalScores,
    router_regions: Sequence[str],
    file: str = "refusal.safetensors",
    budget: float = BUDGET,
) -> tuple[Router, Refusal]:
    """Thresholds by which rules 5 and 6 together refuse at most ``budget`` of the validation images of each region.

    ``router_logits`` (N, R), ``statistics`` (N, D) and the true ``regions`` of validation images; phantoms are left
    out. Every image has a rank in the tail of each quantity (the router's largest probability, each score); those with
    the smallest rank in any are given up until the budget is spent, and each threshold stands at the last image that
    is kept. So all quantities work at about one level. The router has one threshold for all regions, the smallest of
    theirs; what it leaves of a region's budget goes to the scores. An image that the router sends elsewhere counts as
    refused whatever the thresholds: with more of those than the budget allows, nothing more is given up and
    ``validation`` shows it.
    """
    if not 0 <= budget < 1:
        raise InvalidRequestError(f"the budget must lie within 0..1, got {budget}")
    probabilities = softmax(to_matrix(router_logits, "router logits", columns=len(router_regions)))
    matrix = to_matrix(statistics, "statistics")
    check_length(regions, len(probabilities), "regions")
    check_length(regions, len(matrix), "regions")
    parts = {
        region: _make_part(
            probabilities[rows], scorer.score_batch(matrix[rows], region), region, router_regions, budget
        )
        for region, rows in _rows_by_region(regions).items()
    }
    if not parts:
        raise InvalidRequestError("refusal thresholds need validation images of a region")
    threshold = min(_router_threshold(part) for part in parts.values())
    limits = {region: _score_thresholds(part, threshold) for region, part in parts.items()}
    return (
        Router(regions=tuple(router_regions), threshold=threshold),
        Refusal(
            file=file,
            statistics=tuple(
                Statistic(
                    name=name,
                    start=start,
                    stop=stop,
                    thresholds={region: float(values[k]) for region, values in limits.items()},
                )
                for k, (name, (start, stop)) in enumerate(scorer.slices.items())
            ),
            validation={region: _count(part, threshold, limits[region]) for region, part in parts.items()},
        ),
    )


def _make_part(
    probabilities: Array, scores: dict[str, Array], region: str, router_regions: Sequence[str], budget: float
) -> _Part:
    if region not in router_regions:
        raise InvalidRequestError(f"the router knows no region {region!r}")
    if not scores:
        raise InvalidRequestError(f"no refusal scores were fitted for region {region!r}")
    return _Part(
        certainty=probabilities.max(axis=1),
        scores=np.stack(list(scores.values()), axis=1),
        misrouted=probabilities.argmax(axis=1) != list(router_regions).index(region),
        allowed=floor_share(len(probabilities), budget),
    )


def _give_up(oddness: Array, forced: Mask, allowed: int) -> Mask:
    """Which images are refused: the ``forced`` ones and, up to ``allowed`` in all, those of smallest tail rank.

    ``oddness`` (n, Q): the larger, the odder. Of images of one rank the one that is odd in more quantities goes first.
    """
    order = np.argsort(-oddness, axis=0, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(oddness))[:, None], axis=0)
    refused = forced.copy()
    for row in np.lexsort((np.log1p(ranks).sum(axis=1), ranks.min(axis=1))):
        if refused.sum() >= allowed:
            break
        refused[row] = True
    return refused


def _router_threshold(part: _Part) -> float:
    oddness = np.concatenate((-part.certainty[:, None], part.scores), axis=1)
    kept = part.certainty[~_give_up(oddness, part.misrouted, part.allowed)]
    if not len(kept):
        return 0.0
    last = float(kept.min())
    below = part.certainty[part.certainty < last]
    middle = (last + float(below.max())) / 2 if len(below) else 0.0
    return max(middle, last - ROUTER_SLACK, 0.0)


def _score_thresholds(part: _Part, threshold: float) -> Array:
    forced = part.misrouted | (part.certainty < threshold)
    kept = part.scores[~_give_up(part.scores, forced, part.allowed)]
    if not len(kept):
        kept = part.scores
    return np.asarray([_beyond(part.scores[:, k], float(kept[:, k].max())) for k in range(part.scores.shape[1])])


def _beyond(scores: Array, last: float) -> float:
    above = scores[scores > last]
    middle = (last + float(above.min())) / 2 if len(above) else np.inf
    return float(max(min(middle, last * (1 + SCORE_SLACK)), 1e-12))


def _count(part: _Part, threshold: float, limits: Array) -> RefusalShare:
    router = part.certainty < threshold
    features = (part.scores > limits).any(axis=1)
    return RefusalShare(
        n=len(router),
        refused=int((part.misrouted | router | features).sum()),
        misrouted=int(part.misrouted.sum()),
        router=int(router.sum()),
        features=int(features.sum()),
    )
