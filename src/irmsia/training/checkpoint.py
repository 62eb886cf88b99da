"""Checkpoints in safetensors: weights, average, optimiser state and progress; nothing that could run code when read."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from irmsia import durable
from irmsia.errors import InvalidRequestError
from irmsia.training.average import WeightAverage

_STATE_KEYS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One line of the learning curve: losses are means over the epoch or the validation part."""

    epoch: int
    train_loss: float
    validation_loss: float
    seconds: float


@dataclass(slots=True)
class Progress:
    """How far a training is.

    Attributes:
        recipe_digest: a checkpoint goes on only with the recipe it began with.
        epoch: finished epochs.
        best_loss: least validation loss of the average so far.
        best_epoch: the epoch that had it, from 1; 0 before the first.
        history: the learning curve.
    """

    recipe_digest: str
    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[EpochRecord] = field(default_factory=list)


def save_checkpoint(
    path: Path, model: nn.Module, average: WeightAverage, *, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write everything that the next epoch needs, atomically."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.model.state_dict().items()}
    for name, state in _optimiser_state(model, optimiser).items():
        tensors |= {f"optimiser.{name}.{key}": state[key] for key in _STATE_KEYS if key in state}
    metadata = {"progress": json.dumps(asdict(progress))}
    durable.write_bytes(path, save({name: value.contiguous() for name, value in tensors.items()}, metadata))


def load_checkpoint(
    path: Path, model: nn.Module, average: WeightAverage, *, optimiser: torch.optim.Optimizer, recipe_digest: str
) -> Progress:
    """Restore what `save_checkpoint` wrote and return how far it was.

    Raises:
        InvalidRequestError: the checkpoint belongs to another recipe.
    """
    with safe_open(path, framework="pt") as file:
        progress = _progress(file.metadata())
        if progress.recipe_digest != recipe_digest:
            raise InvalidRequestError("the checkpoint belongs to another recipe; train in another folder")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a safetensors handle is no dict
    model.load_state_dict(_under("model.", tensors))
    average.model.load_state_dict(_under("average.", tensors))
    for name, parameter in model.named_parameters():
        state = _under(f"optimiser.{name}.", tensors)
        if state:
            optimiser.state[parameter] = state
    return progress


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a network's weights alone, atomically."""
    durable.write_bytes(path, save({name: value.contiguous() for name, value in model.state_dict().items()}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read what `save_weights` wrote into ``model``."""
    with safe_open(path, framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no dict


def _progress(metadata: dict[str, str]) -> Progress:
    fields = json.loads(metadata["progress"])
    fields["history"] = [EpochRecord(**record) for record in fields["history"]]
    return Progress(**fields)


def _optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    return {name: optimiser.state[value] for name, value in model.named_parameters() if value in optimiser.state}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
