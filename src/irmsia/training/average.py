"""Exponential moving average of a network's weights: what is validated and exported."""

import copy

import torch
from torch import nn

_RAMP_STEPS = 20


class WeightAverage:
    """The averaged copy of a network.

    Args:
        model: the network that is trained.
        decay: of the average once it is warm; at first it follows faster, ``(step + 1) / (step + 20)``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards ``model`` after optimiser step ``step`` (from 0)."""
        rate = 1 - min(self.decay, (step + 1) / (step + _RAMP_STEPS))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), rate)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, rate)
            else:
                mine.copy_(theirs)
