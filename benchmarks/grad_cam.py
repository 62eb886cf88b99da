"""Grad-CAM of the rebuilt network, the usual explanation to hold the bundle's own map against.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from irmsia.networks.diagnostic import MultiHeadDiagnosticModel


class GradCam:
    """Grad-CAM on the last feature level of ``network``."""

    def __init__(self, network: MultiHeadDiagnosticModel) -> None:
        self._network = network

    def __call__(
        self, tensor: NDArray[np.float32], region: str, index: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the map (h, w) of term ``index`` of ``region`` for a tensor (1, S, S), and the group's logits (K,)."""
        import torch

        image = torch.from_numpy(np.ascontiguousarray(tensor))[None]
        last: Any = self._network.backbone(image)[1].detach().requires_grad_(True)
        head: Any = self._network.groups[region]
        logits = head(last).logits[0]
        (slope,) = torch.autograd.grad(logits[index], last)
        return weigh(last.detach()[0].numpy(), slope[0].numpy()), logits.detach().numpy()


def weigh(features: NDArray[np.float32], slope: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is positive of the features (C, h, w) weighted by the mean slope of each channel: (h, w)."""
    weighted = np.tensordot(slope.mean(axis=(1, 2)), features, axes=1)
    return np.asarray(np.maximum(weighted, 0.0), np.float32)
