"""The masked multi-task loss: a label group learns from its own region's images only."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from irmsia.networks.attention_pooling import PooledLogits
from irmsia.networks.diagnostic import DiagnosticOutput
from irmsia.training.recipe import Recipe

_FLOOR = 1e-4


class Truth(NamedTuple):
    """What is known of a batch.

    Attributes:
        regions: (N,) index of the region.
        terms: (N,) index of the term within the region's group.
        lesions: (N, 1, s, s) share of each cell that is lesion, 0..1, s a multiple of the map's side.
        has_lesions: (N,) bool, whether ``lesions`` is known.
    """

    regions: Tensor
    terms: Tensor
    lesions: Tensor
    has_lesions: Tensor


def multi_task_loss(
    output: DiagnosticOutput, truth: Truth, recipe: Recipe, *, class_weights: dict[str, Tensor]
) -> Tensor:
    """Return the scalar loss: 0.3 x router + sum of the groups' + the auxiliary lesion terms.

    Args:
        output: of the network, for N images.
        truth: of the same images.
        recipe: holds the weights of the parts.
        class_weights: region -> (K,) weights that balance the group's classes.
    """
    loss = recipe.router_weight * F.cross_entropy(output.router, truth.regions)
    for index, region in enumerate(recipe.region_names()):
        own = truth.regions == index
        loss = loss + group_loss(
            output.groups[region].logits[own],
            truth.terms[own],
            weights=class_weights[region],
            smoothing=recipe.label_smoothing,
        )
    return loss + lesion_loss(output, truth, recipe)


def group_loss(logits: Tensor, terms: Tensor, *, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the balanced cross-entropy of one group's own images; 0 where the batch has none.

    Args:
        logits: (n, K).
        terms: (n,).
        weights: (K,), mean 1 over the drawn images.
        smoothing: share of the label spread over all terms.
    """
    if len(terms) == 0:
        return logits.sum() * 0.0
    each = F.cross_entropy(logits, terms, reduction="none", label_smoothing=smoothing)
    return (each * weights[terms]).mean()


def lesion_loss(output: DiagnosticOutput, truth: Truth, recipe: Recipe) -> Tensor:
    """Return the auxiliary losses from lesion masks; 0 where the batch has none.

    A place learns whether it belongs to a lesion, and the attention of the lesion terms learns to rest inside the
    lesion, which makes the contribution map point at it.
    """
    known = truth.has_lesions
    if not bool(known.any()):
        return output.lesion.sum() * 0.0
    factor = truth.lesions.shape[-1] // output.lesion.shape[-1]
    cells = F.avg_pool2d(truth.lesions, factor)
    place = F.binary_cross_entropy_with_logits(output.lesion[known], cells[known])
    inside = [
        _attention_outside(output.groups[region], cells, known & (truth.regions == index))
        for index, region in enumerate(recipe.region_names())
    ]
    return recipe.lesion_weight * place + recipe.attention_weight * torch.stack(inside).sum()


def _attention_outside(pooled: PooledLogits, cells: Tensor, own: Tensor) -> Tensor:
    """Return the mean -log of the attention that lesion terms (all but the first) pay inside the lesion."""
    seen = own & (cells.flatten(1).sum(dim=1) > 0.5)  # at least half a cell of lesion is left after augmentation
    if not bool(seen.any()):
        return cells.sum() * 0.0
    attention = pooled.log_attention[seen][:, 1:].flatten(2)
    return -torch.logsumexp(attention + torch.log(cells[seen].flatten(2) + _FLOOR), dim=2).mean()
