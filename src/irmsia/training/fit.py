"""The training loop: one optimiser step after another, a checkpoint an epoch, early stopping."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irmsia.networks.diagnostic import DiagnosticOutput, HeadSpec, MultiHeadDiagnosticModel
from irmsia.training.augment import BatchAugmenter, Mix
from irmsia.training.average import WeightAverage
from irmsia.training.cases import Cases
from irmsia.training.checkpoint import (
    EpochRecord,
    Progress,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from irmsia.training.losses import Truth, multi_task_loss
from irmsia.training.recipe import Recipe
from irmsia.training.sampling import class_weights, epoch_batches, make_pools

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"

_GRADIENT_NORM = 2.0
_LEAST_RATE = 0.01
_VALIDATION_BATCH = 64
_TEMPERATURES = tuple(2.0 ** (step / 4) for step in range(-6, 9))


@dataclass(frozen=True, slots=True)
class Step:
    """Reported after every optimiser step."""

    epoch: int
    step: int
    loss: float


Report = Callable[[Step | EpochRecord], None]


def make_model(recipe: Recipe) -> MultiHeadDiagnosticModel:
    """Make the recipe's network, initialised from its seed."""
    torch.manual_seed(recipe.seed)
    heads = tuple(HeadSpec(region.region, len(region.terms)) for region in recipe.regions)
    return MultiHeadDiagnosticModel(recipe.backbone, heads, dropout=recipe.dropout)


def fit(
    recipe: Recipe,
    cases: Cases,
    folder: Path,
    *,
    start: Path | None = None,
    report: Report = lambda event: None,
) -> Progress:
    """Train until the recipe's last epoch or until patience is used up; go on from ``folder``'s checkpoint.

    Leaves ``checkpoint.safetensors`` and the best average, ``best.safetensors``, in ``folder``. A run broken off and
    resumed ends with the same weights as an unbroken one on the same machine and thread count. Without a checkpoint it
    begins with the weights in ``start``, which `save_weights` wrote, or with the seed's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, cases)
    if (folder / CHECKPOINT).exists():
        trainer.resume(folder / CHECKPOINT)
    elif start is not None:
        trainer.start_from(start)
    with _without_denormals():
        while trainer.progress.epoch < recipe.epochs and not trainer.out_of_patience():
            report(trainer.run_epoch(report))
            if trainer.progress.best_epoch == trainer.progress.epoch:
                save_weights(folder / BEST, trainer.average.model)
            trainer.save(folder / CHECKPOINT)
    return trainer.progress


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Tiny averages would slow the processor down; the mode is the whole process's, so it is put back."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Trainer:
    """Network, average, optimiser and progress of one training."""

    def __init__(self, recipe: Recipe, cases: Cases) -> None:
        self.recipe = recipe
        self.cases = cases
        self.model = make_model(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = WeightAverage(self.model, recipe.ema_decay)
        self.optimiser = _make_optimiser(self.model, recipe)
        self.progress = Progress(recipe_digest=recipe_digest(recipe))
        self._pools = make_pools(cases, recipe)
        self._weights = class_weights(cases, recipe)
        self._truth = _TruthTable.of(cases, recipe)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe."""
        self.progress = load_checkpoint(
            path, self.model, self.average, optimiser=self.optimiser, recipe_digest=self.progress.recipe_digest
        )

    def start_from(self, path: Path) -> None:
        """Begin with a network's weights instead of random ones."""
        load_weights(path, self.model)
        load_weights(path, self.average.model)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, self.model, self.average, optimiser=self.optimiser, progress=self.progress)

    def out_of_patience(self) -> bool:
        """Return whether the validation loss has not improved for the recipe's patience."""
        return self.progress.epoch - self.progress.best_epoch >= self.recipe.patience

    def run_epoch(self, report: Report) -> EpochRecord:
        """Train one epoch, validate the average, and enter both into the progress."""
        started, epoch = time.monotonic(), self.progress.epoch
        augmenter = BatchAugmenter(self.recipe.augmentation, _seeded(self.recipe, epoch))
        self.model.train()
        losses = []
        for step, batch in enumerate(epoch_batches(self._pools, self.recipe, epoch)):
            losses.append(self._step(batch, augmenter, epoch * self.recipe.steps_per_epoch + step))
            report(Step(epoch + 1, step + 1, losses[-1]))
        validation = self.validation_loss()
        record = EpochRecord(epoch + 1, float(np.mean(losses)), validation, time.monotonic() - started)
        self._enter(record)
        return record

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the average's loss on the validation part: mean over regions of the class-balanced log loss.

        Each region's logits are divided by the temperature that suits them best, as calibration will do: a network that
        grows too sure of itself while it still learns to tell the classes apart is not stopped for it.
        """
        indices = self.cases.indices("validation")
        outputs = [self._forward(self.average.model, self._images(part)) for part in _chunks(indices)]
        truth = self._truth.take(indices)
        return float(np.mean([self._balanced_log_loss(outputs, truth, number) for number in range(len(self._weights))]))

    def _balanced_log_loss(self, outputs: list[DiagnosticOutput], truth: Truth, number: int) -> float:
        region = self.recipe.regions[number]
        own = truth.regions == number
        logits = torch.cat([output.groups[region.region].logits for output in outputs])[own]
        return best_temperature_loss(logits, truth.terms[own])

    def _step(self, batch: NDArray[np.int64], augmenter: BatchAugmenter, step: int) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, step)
        truth = self._truth.take(batch)
        mirror = self._truth.mirror[truth.regions]
        images, lesions = augmenter.apply(self._images(batch), truth.lesions, mirror)
        truth = truth._replace(lesions=lesions)
        if self.recipe.mixup > 0:
            mix = augmenter.draw_mix(truth.regions, self.recipe.mixup)
            loss = self._mixed_loss(images, truth, mix)
        else:
            loss = self._loss(self._forward(self.model, images), truth)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
        self.optimiser.step()
        self.average.update(self.model, step)
        return float(loss.detach())

    def _mixed_loss(self, images: Tensor, truth: Truth, mix: Mix) -> Tensor:
        """Return the loss of mixed images: each part's truth counts by its share."""
        output = self._forward(self.model, mix.share * images + (1 - mix.share) * images[mix.partners])
        second = Truth(*(values[mix.partners] for values in truth))
        return mix.share * self._loss(output, truth) + (1 - mix.share) * self._loss(output, second)

    def _loss(self, output: DiagnosticOutput, truth: Truth) -> Tensor:
        return multi_task_loss(output, truth, self.recipe, class_weights=self._weights)

    def _forward(self, model: nn.Module, images: Tensor) -> DiagnosticOutput:
        laid_out = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            output: DiagnosticOutput = model(laid_out)
        return output

    def _images(self, indices: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.cases.tensors[indices].astype(np.float32))[:, None]

    def _enter(self, record: EpochRecord) -> None:
        self.progress.epoch = record.epoch
        self.progress.history.append(record)
        if record.validation_loss < self.progress.best_loss:
            self.progress.best_loss = record.validation_loss
            self.progress.best_epoch = record.epoch


def best_temperature_loss(logits: Tensor, terms: Tensor) -> float:
    """Return `balanced_log_loss` at the temperature that suits the logits (n, K) best."""
    return min(balanced_log_loss(logits / temperature, terms) for temperature in _TEMPERATURES)


def balanced_log_loss(logits: Tensor, terms: Tensor) -> float:
    """Return the mean over the classes present of their mean log loss; logits (n, K), terms (n,)."""
    each = nn.functional.cross_entropy(logits, terms, reduction="none")
    return float(np.mean([float(each[terms == term].mean()) for term in torch.unique(terms)]))


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate of optimiser step ``step`` (from 0): linear warm-up, constant, half a cosine down to 1 %."""
    cooldown = recipe.cooldown_epochs * recipe.steps_per_epoch
    left = recipe.epochs * recipe.steps_per_epoch - step
    cooled = 0.0 if left >= cooldown else 1 - left / cooldown
    cosine = _LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * cooled))
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps) * cosine


def recipe_digest(recipe: Recipe) -> str:
    """Return the SHA-256 (hex) of the recipe's JSON without what may change when a run goes on: its length."""
    return hashlib.sha256(
        recipe.model_dump_json(exclude={"epochs", "cooldown_epochs", "patience"}).encode()
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class _TruthTable:
    """The truth of all cases as arrays, and which regions may be mirrored."""

    regions: Tensor
    terms: Tensor
    lesions: NDArray[np.uint8]
    has_lesions: Tensor
    mirror: Tensor

    @classmethod
    def of(cls, cases: Cases, recipe: Recipe) -> "_TruthTable":
        names = recipe.region_names()
        terms = {region.region: region.terms for region in recipe.regions}
        return cls(
            regions=torch.tensor([names.index(row.region) for row in cases.rows]),
            terms=torch.tensor([terms[row.region].index(row.term) for row in cases.rows]),
            lesions=cases.lesions,
            has_lesions=torch.tensor([row.has_lesion for row in cases.rows]),
            mirror=torch.tensor([region.mirror for region in recipe.regions]),
        )

    def take(self, indices: NDArray[np.int64]) -> Truth:
        chosen = torch.from_numpy(indices)
        lesions = torch.from_numpy(self.lesions[indices].astype(np.float32) / 255)[:, None]
        return Truth(self.regions[chosen], self.terms[chosen], lesions, self.has_lesions[chosen])


def _make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; norms and biases are not decayed."""
    decayed = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _seeded(recipe: Recipe, epoch: int) -> torch.Generator:
    """Seed dropout (the global generator), return the augmentation's own: an epoch repeats after a resume."""
    seed = int(np.random.SeedSequence((recipe.seed, epoch)).generate_state(1)[0])
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed + 1)


def _chunks(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [indices[start : start + _VALIDATION_BATCH] for start in range(0, len(indices), _VALIDATION_BATCH)]
