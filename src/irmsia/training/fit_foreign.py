"""Fits the head that looks for foreign images: own training images against made-up ones, the network itself frozen."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from irmsia.findings.vocabulary import PHANTOM_REGION
from irmsia.networks.diagnostic import MultiHeadDiagnosticModel
from irmsia.networks.foreign import ForeignHead
from irmsia.training.augment import BatchAugmenter
from irmsia.training.cases import LESION_STRIDE, Cases
from irmsia.training.foreign import FAMILIES
from irmsia.training.recipe import ForeignRecipe, Recipe

ReportStep = Callable[[int, float], None]

_LAST_STRIDE = 16
_PHANTOMS = 2


def make_foreign_head(model: MultiHeadDiagnosticModel, size: int) -> ForeignHead:
    """Return an untrained head that fits the network's levels at images of side ``size``."""
    return ForeignHead(model.early_channels, model.last_channels, math.ceil(size / _LAST_STRIDE))


def fit_foreign(
    model: MultiHeadDiagnosticModel,
    cases: Cases,
    recipe: Recipe,
    settings: ForeignRecipe,
    *,
    report: ReportStep = lambda step, loss: None,
) -> ForeignHead:
    """Return the fitted head; ``model`` is evaluated only, its weights and its norms' statistics stay as they are.

    Own images are training images changed as the recipe's augmentation changes them; so are the foreign ones, which
    are made of them by `irmsia.training.foreign`, or are phantoms.
    """
    torch.manual_seed(settings.seed)
    model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = make_foreign_head(model, recipe.size)
    batches = _Batches(cases, recipe, settings)
    optimiser = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(settings, step)
        images, foreign = batches.draw()
        loss = F.binary_cross_entropy_with_logits(head.logit(*_levels(model, images, recipe))[:, 0], foreign)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships no type for it
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        report(step + 1, float(loss.detach()))
    return head.eval()


class _Batches:
    """Draws (images (N, 1, S, S), 1.0 where foreign (N,)) from one seed."""

    def __init__(self, cases: Cases, recipe: Recipe, settings: ForeignRecipe) -> None:
        self._cases = cases
        self._settings = settings
        self._order = np.random.default_rng(settings.seed)
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._augmenter = BatchAugmenter(recipe.augmentation, self._generator)
        self._regions = [region for region in recipe.regions if region.region != PHANTOM_REGION]
        self._own = [cases.indices("train", region.region) for region in self._regions]
        self._phantoms = cases.indices("train", PHANTOM_REGION)

    def draw(self) -> tuple[Tensor, Tensor]:
        own = self._images(np.concatenate([self._order.choice(part, self._settings.own) for part in self._own]))
        mirror = torch.tensor([region.mirror for region in self._regions]).repeat_interleave(self._settings.own)
        made = self._foreign()
        images = torch.cat([own, made])
        mirror = torch.cat([mirror, torch.ones(len(made), dtype=torch.bool)])
        side = images.shape[-1] // LESION_STRIDE
        images, _ = self._augmenter.apply(images, torch.zeros(len(images), 1, side, side), mirror)
        return images, torch.cat([torch.zeros(len(own)), torch.ones(len(made))])

    def _foreign(self) -> Tensor:
        names = list(FAMILIES)
        chosen = self._order.permutation(len(names))[: self._settings.families]
        made = [FAMILIES[names[number]](self._one_of_each(), self._generator) for number in chosen]
        if len(self._phantoms):
            made.append(self._images(self._order.choice(self._phantoms, _PHANTOMS)))
        return torch.cat(made)

    def _one_of_each(self) -> Tensor:
        return self._images(self._order.permutation([int(self._order.choice(part)) for part in self._own]))

    def _images(self, indices: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._cases.tensors[indices].astype(np.float32))[:, None]


@torch.no_grad()
def _levels(model: MultiHeadDiagnosticModel, images: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
        early, last = model.levels(images.contiguous(memory_format=torch.channels_last))
    return early.float(), last.float()


def _rate(settings: ForeignRecipe, step: int) -> float:
    """Linear warm-up, then half a cosine."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return settings.learning_rate * warm * 0.5 * (1.005 + math.cos(math.pi * step / settings.steps))
