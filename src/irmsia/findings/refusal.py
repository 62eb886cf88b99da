"""Refusal scores of rule 6: how far the network's feature statistics of an image lie from those of its region.

Each statistic is a slice of the network's ``statistics`` output and has parameters for each region but phantom. Scores
are about 1 on the data they were fitted on, grow without bound, and are refused above their threshold. Two kinds:

- `Mahalanobis`: root mean square of the whitened deviation, after shrinkage (means and spreads of an early stage);
- `PcaResidual`: the same within the leading principal components, joined in equal parts with what they leave
  unexplained, Hotelling's T2 and the squared prediction error (a coarse grid of an early stage, of more dimensions
  than images).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.errors import BundleRejectedError, InternalError
from irmsia.findings.arrays import Array, to_matrix
from irmsia.findings.rules import Refusal

Stored = NDArray[np.float32] | NDArray[np.float64]


class Score(Protocol):
    """Parameters of one statistic of one region."""

    def score(self, features: Array) -> Array:
        """Scores (N,) of ``features`` (N, d)."""

    def to_arrays(self) -> dict[str, Stored]:
        """The parameters by name, as they are stored."""


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """``mean`` (d,) float64; ``whitening`` (d, d) float32."""

    mean: NDArray[np.float64]
    whitening: NDArray[np.float32]
    NAMES: ClassVar[tuple[str, ...]] = ("mean", "whitening")

    def fits(self, size: int) -> bool:
        """Whether the parameters are of a statistic of ``size`` values."""
        return self.mean.shape == (size,) and self.whitening.shape == (size, size)

    def score(self, features: Array) -> Array:
        """Root mean square of the whitened deviation: (N, d) to (N,)."""
        white = (features - self.mean) @ self.whitening.astype(np.float64).T
        return np.asarray(np.sqrt(np.mean(white**2, axis=1)))

    def to_arrays(self) -> dict[str, Stored]:
        """The parameters by name."""
        return {"mean": self.mean, "whitening": self.whitening}


@dataclass(frozen=True, slots=True)
class PcaResidual:
    """``mean``, ``spread`` (d,); orthonormal ``components`` (k, d) float32; ``variances`` (k,); ``residual`` (1,)."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    components: NDArray[np.float32]
    variances: NDArray[np.float64]
    residual: NDArray[np.float64]
    NAMES: ClassVar[tuple[str, ...]] = ("components", "mean", "residual", "spread", "variances")

    def fits(self, size: int) -> bool:
        """Whether the parameters are of a statistic of ``size`` values."""
        count = len(self.variances)
        shapes = (self.mean.shape, self.spread.shape, self.components.shape, self.residual.shape)
        return shapes == ((size,), (size,), (count, size), (1,))

    def score(self, features: Array) -> Array:
        """Root of the mean of the explained and the unexplained part, each about 1 on fitting data: (N, d) to (N,)."""
        scaled = (features - self.mean) / self.spread
        components = self.components.astype(np.float64)
        inner = scaled @ components.T
        left = ((scaled - inner @ components) ** 2).sum(axis=1) / self.residual[0]
        if not len(self.variances):
            return np.asarray(np.sqrt(left))
        return np.asarray(np.sqrt(((inner**2 / self.variances).mean(axis=1) + left) / 2))

    def to_arrays(self) -> dict[str, Stored]:
        """The parameters by name."""
        return {
            "mean": self.mean,
            "spread": self.spread,
            "components": self.components,
            "variances": self.variances,
            "residual": self.residual,
        }


@dataclass(frozen=True, slots=True)
class RefusalScores:
    """All scores of a bundle: ``slices`` (start, stop) by statistic, ``scores`` by statistic and region."""

    slices: dict[str, tuple[int, int]]
    scores: dict[tuple[str, str], Score]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], refusal: Refusal) -> Self:
        """The scores that ``refusal`` names, from the arrays of its file (keys ``statistic/region/parameter``).

        Raises `BundleRejectedError` when an array is missing, too many, misshaped, not finite or of another type.
        """
        slices = {statistic.name: (statistic.start, statistic.stop) for statistic in refusal.statistics}
        wanted = [(statistic.name, region) for statistic in refusal.statistics for region in statistic.thresholds]
        scores: dict[tuple[str, str], Score] = {}
        used: set[str] = set()
        for name, region in wanted:
            prefix = f"{name}/{region}/"
            own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
            scores[name, region] = _load_score(own, prefix, slices[name][1] - slices[name][0])
            used.update(prefix + key for key in own)
        if used != set(arrays):
            raise BundleRejectedError(f"refusal parameters that no statistic names: {sorted(set(arrays) - used)}")
        return cls(slices, scores)

    def to_arrays(self) -> dict[str, Stored]:
        """Float32 and float64 arrays by ``statistic/region/parameter``, for a safetensors file.

        C-contiguous: safetensors writes the memory as it lies, so a transposed view would come back untransposed.
        """
        arrays: dict[str, Stored] = {
            f"{name}/{region}/{key}": value
            for (name, region), score in sorted(self.scores.items())
            for key, value in score.to_arrays().items()
        }
        return {name: value.copy(order="C") for name, value in arrays.items()}

    def score(self, statistics: ArrayLike, region: str) -> dict[str, float]:
        """Scores of one image's ``statistics`` (D,) by statistic; empty for a region without parameters."""
        batch = self.score_batch(np.asarray(statistics, dtype=np.float64)[None, :], region)
        return {name: float(values[0]) for name, values in batch.items()}

    def score_all(self, statistics: ArrayLike) -> dict[str, float]:
        """Every score of one image's ``statistics`` (D,), in every region, by ``statistic/region``."""
        regions = sorted({region for _, region in self.scores})
        return {
            f"{name}/{region}": value for region in regions for name, value in self.score(statistics, region).items()
        }

    def score_batch(self, statistics: ArrayLike, region: str) -> dict[str, Array]:
        """Scores (N,) of ``statistics`` (N, D) by statistic. `InternalError` when D is too small for a slice."""
        matrix = to_matrix(statistics, "statistics")
        needed = max((stop for _, stop in self.slices.values()), default=0)
        if matrix.shape[1] < needed:
            raise InternalError(f"the network gave {matrix.shape[1]} statistics, the refusal scores need {needed}")
        return {
            name: self.scores[name, region].score(matrix[:, start:stop])
            for name, (start, stop) in self.slices.items()
            if (name, region) in self.scores
        }


def _load_score(arrays: Mapping[str, NDArray[np.generic]], prefix: str, size: int) -> Score:
    if any(values.dtype not in (np.float32, np.float64) for values in arrays.values()):
        raise BundleRejectedError(f"refusal parameters {prefix} must be float32 or float64")
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise BundleRejectedError(f"refusal parameters {prefix} must be finite")
    wide = {key: values.astype(np.float64) for key, values in arrays.items()}
    score: Mahalanobis | PcaResidual
    if tuple(sorted(arrays)) == Mahalanobis.NAMES:
        score = Mahalanobis(wide["mean"], wide["whitening"].astype(np.float32))
    elif tuple(sorted(arrays)) == PcaResidual.NAMES:
        components = wide.pop("components").astype(np.float32)
        score = PcaResidual(components=components, **wide)
        if not (score.spread > 0).all() or not (score.variances > 0).all() or not (score.residual > 0).all():
            raise BundleRejectedError(f"refusal parameters {prefix}: spreads and variances must be positive")
    else:
        raise BundleRejectedError(f"refusal parameters {prefix} are of no known kind: {sorted(arrays)}")
    if not score.fits(size):
        raise BundleRejectedError(f"refusal parameters {prefix} are not of a statistic of {size} values")
    return score
