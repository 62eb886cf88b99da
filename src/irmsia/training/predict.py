"""Outputs of a network for many cases, as float64 arrays that `irmsia.findings` works on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from irmsia.networks.diagnostic import DiagnosticOutput

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Predictions:
    """Raw outputs of n cases.

    Attributes:
        router: (n, R) logits.
        logits: region -> (n, K) logits.
        statistics: (n, D).
    """

    router: NDArray[np.float64]
    logits: dict[str, NDArray[np.float64]]
    statistics: NDArray[np.float64]


@torch.no_grad()
def predict(model: nn.Module, tensors: NDArray[np.float16], indices: NDArray[np.int64]) -> Predictions:
    """Run a network in evaluation mode at fp32 over ``tensors[indices]``, each (S, S)."""
    model.eval()
    outputs: list[DiagnosticOutput] = []
    for start in range(0, len(indices), _BATCH):
        images = tensors[indices[start : start + _BATCH]].astype(np.float32)
        outputs.append(model(torch.from_numpy(images)[:, None]))
    return Predictions(
        router=_stack([output.router for output in outputs]),
        logits={region: _stack([output.groups[region].logits for output in outputs]) for region in outputs[0].groups},
        statistics=_stack([output.statistics for output in outputs]),
    )


def _stack(parts: list[torch.Tensor]) -> NDArray[np.float64]:
    return torch.cat(parts).double().numpy()
