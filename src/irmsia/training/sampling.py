"""Which cases an epoch sees: regions by their share, classes damped towards equal, none twice until all were seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from irmsia.errors import InvalidRequestError
from irmsia.training.cases import Cases
from irmsia.training.recipe import Recipe, RegionTerms


@dataclass(frozen=True, slots=True)
class ClassPool:
    """The training cases of one term and the share of the batches' images drawn from it."""

    indices: NDArray[np.int64]
    share: float


def make_pools(cases: Cases, recipe: Recipe) -> list[ClassPool]:
    """Return one pool a term of each region, shares summing to 1.

    Raises:
        InvalidRequestError: a term has no training case.
    """
    total = sum(region.share for region in recipe.regions)
    pools = []
    for region in recipe.regions:
        found = [cases.indices("train", region.region, term) for term in region.terms]
        if any(len(indices) == 0 for indices in found):
            raise InvalidRequestError(f"a term of region {region.region} has no training case")
        shares = _class_shares(found, recipe.sampling_power)
        pools += [
            ClassPool(indices, share * region.share / total) for indices, share in zip(found, shares, strict=True)
        ]
    return pools


def class_weights(cases: Cases, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Return region -> (K,) loss weights that make the classes count equally, given how often each is drawn."""
    return {region.region: _balance(cases, region, recipe) for region in recipe.regions}


def epoch_batches(pools: list[ClassPool], recipe: Recipe, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yield the batches of one epoch; the same seed and epoch give the same batches."""
    order = np.random.default_rng((recipe.seed, epoch))
    shares = np.array([pool.share for pool in pools])
    queues = [_forever(pool.indices, order) for pool in pools]
    for _ in range(recipe.steps_per_epoch):
        drawn = order.choice(len(pools), size=recipe.batch_size, p=shares / shares.sum())
        yield np.array([next(queues[pool]) for pool in drawn], dtype=np.int64)


def _forever(indices: NDArray[np.int64], order: np.random.Generator) -> Iterator[int]:
    while True:
        yield from order.permutation(indices).tolist()


def _class_shares(found: list[NDArray[np.int64]], power: float) -> NDArray[np.float64]:
    counts = np.power(np.array([len(indices) for indices in found], dtype=np.float64), power)
    return np.asarray(counts / counts.sum())


def _balance(cases: Cases, region: RegionTerms, recipe: Recipe) -> torch.Tensor:
    shares = _class_shares(
        [cases.indices("train", region.region, term) for term in region.terms], recipe.sampling_power
    )
    return torch.tensor(1 / (len(shares) * shares), dtype=torch.float32)
