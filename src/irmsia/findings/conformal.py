"""Split-conformal sets over the terms of a group (contract section 2).

The score of a validation image is 1 - p(true). The quantile of n scores at coverage c is their k-th smallest,
k = ceil((n + 1) c), and 1 where k > n. One image a patient or cluster is used: images of one patient are not
exchangeable with those of others. Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005;
class-conditional ("Mondrian") quantiles where a class has enough groups.

The space of an independent group is its terms and, where it lacks one, ``normal`` with p = product of (1 - p), since an
image without any finding must have a set too. An image with several findings counts for the quantile of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.errors import InvalidRequestError
from irmsia.findings.arrays import Array, Kind, check_length, to_matrix, to_truth
from irmsia.findings.ranks import ceil_share
from irmsia.findings.rules import Conformal, LabelGroup, conformal_space
from irmsia.findings.vocabulary import NORMAL

COVERAGE = 0.95
ENOUGH_GROUPS = 39
"""With fewer, the quantile at 95 % is the largest score of the sample: one odd group would set it (docs/adr/0009)."""


def fit_conformal(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    terms: Sequence[str],
    groups: Sequence[str],
    keys: Sequence[str],
    kind: Kind = "exclusive",
    coverage: float = COVERAGE,
) -> Conformal:
    """Quantiles of validation ``probabilities`` (N, K), one a term of `conformal_space`.

    Of each of ``groups`` (patient or cluster, one a row) the image of the smallest of ``keys`` (its digest) is used, so
    that the choice is arbitrary, repeatable and independent of the order. Raises `InvalidRequestError`.
    """
    if not 0 < coverage < 1:
        raise InvalidRequestError(f"coverage must lie between 0 and 1, got {coverage}")
    matrix = to_matrix(probabilities, "probabilities", columns=len(terms))
    truth = to_truth(targets, kind, (matrix.shape[0], matrix.shape[1]))
    chosen = choose_one_per_group(groups, keys, len(matrix))
    space = conformal_space(terms, kind)
    scores = 1.0 - to_space(matrix, terms, kind)[chosen]
    known = _truth_in_space(truth, len(space))[chosen]
    return _quantiles(scores, known, coverage)


def choose_one_per_group(groups: Sequence[str], keys: Sequence[str], rows: int) -> NDArray[np.intp]:
    """Row numbers, ascending: of each group the row of the smallest key."""
    check_length(groups, rows, "groups")
    check_length(keys, rows, "keys")
    smallest: dict[str, int] = {}
    for row in sorted(range(rows), key=lambda row: (keys[row], row)):
        smallest.setdefault(groups[row], row)
    return np.asarray(sorted(smallest.values()), dtype=np.intp)


def to_space(probabilities: Array, terms: Sequence[str], kind: Kind) -> Array:
    """``probabilities`` (..., K) over `conformal_space`: with p(normal) appended where the group has no such term."""
    if len(conformal_space(terms, kind)) == len(terms):
        return probabilities
    return np.concatenate((probabilities, np.prod(1.0 - probabilities, axis=-1, keepdims=True)), axis=-1)


def _truth_in_space(truth: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    if truth.shape[1] == size:
        return truth
    return np.concatenate((truth, ~truth.any(axis=1, keepdims=True)), axis=1)


def _quantiles(scores: Array, truth: NDArray[np.bool_], coverage: float) -> Conformal:
    counts = tuple(int(count) for count in truth.sum(axis=0))
    pooled = tuple(count < ENOUGH_GROUPS for count in counts)
    everyone = quantile(scores[truth], coverage)
    return Conformal(
        coverage=coverage,
        quantiles=tuple(
            everyone if pooled[k] else quantile(scores[truth[:, k], k], coverage) for k in range(len(counts))
        ),
        pooled=pooled,
        n=counts,
    )


def quantile(scores: Array, coverage: float) -> float:
    """The k-th smallest of n ``scores``, k = ceil((n + 1) coverage); 1 where k > n: the set holds everything."""
    rank = ceil_share(len(scores) + 1, coverage)
    if rank > len(scores):
        return 1.0
    return float(np.clip(np.sort(scores)[rank - 1], 0.0, 1.0))


def conformal_terms(group: LabelGroup, probabilities: Array) -> tuple[str, ...]:
    """The set of one image's calibrated ``probabilities`` (K,): terms with 1 - p <= quantile, else the largest one."""
    space = conformal_space(group.terms, group.kind)
    values = to_space(probabilities, group.terms, group.kind)
    inside = 1.0 - values <= np.asarray(group.conformal.quantiles)
    if not inside.any():
        inside[int(np.argmax(values))] = True
    return tuple(term for term, kept in zip(space, inside, strict=True) if kept)


def is_normal_only(terms: Sequence[str]) -> bool:
    """Whether a conformal set is {normal}."""
    return tuple(terms) == (NORMAL,)
