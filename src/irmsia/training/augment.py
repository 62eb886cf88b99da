"""Augmentation of a whole batch at once, in torch, so that feeding is not the bottleneck."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from irmsia.training.recipe import Augmentation


@dataclass(frozen=True, slots=True)
class BatchAugmenter:
    """Random geometry and greys by one generator, so that an epoch can be repeated.

    Attributes:
        settings: sizes of the changes.
        generator: the only source of randomness.
    """

    settings: Augmentation
    generator: torch.Generator

    def apply(self, images: Tensor, lesions: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed copies.

        Args:
            images: (N, 1, S, S), padding 0.
            lesions: (N, 1, s, s), share of each cell that is lesion, 0..1; it follows the geometry.
            mirror: (N,) bool, whether the image may be mirrored left to right.
        """
        matrix = self._geometry(len(images), mirror)
        return self._greys(_warp(images, matrix)), _warp(lesions, matrix)

    def _uniform(self, count: int, greatest: float) -> Tensor:
        return (torch.rand(count, generator=self.generator) * 2 - 1) * greatest

    def _chosen(self, count: int, share: float) -> Tensor:
        return torch.rand(count, generator=self.generator) < share

    def _geometry(self, count: int, mirror: Tensor) -> Tensor:
        """Return (N, 2, 3) affine maps from output to input coordinates (-1..1)."""
        settings = self.settings
        angle = self._uniform(count, math.radians(settings.rotation_degrees))
        scale = self._uniform(count, settings.scale).exp()
        aspect = self._uniform(count, settings.aspect).exp()
        side = torch.where(mirror & self._chosen(count, 0.5), -1.0, 1.0)
        row = torch.stack([angle.cos() * scale * aspect * side, -angle.sin() * scale], dim=1)
        column = torch.stack([angle.sin() * scale * side, angle.cos() * scale / aspect], dim=1)
        shift = torch.stack([self._uniform(count, settings.shift), self._uniform(count, settings.shift)], dim=1)
        return torch.cat([torch.stack([row, column], dim=1), shift[:, :, None]], dim=2)

    def _greys(self, images: Tensor) -> Tensor:
        settings, count = self.settings, len(images)
        contrast = self._uniform(count, settings.contrast).exp()[:, None, None, None]
        changed = images * contrast + self._uniform(count, settings.brightness)[:, None, None, None]
        blurred = self._chosen(count, settings.blur)
        changed[blurred] = F.avg_pool2d(changed[blurred], kernel_size=3, stride=1, padding=1)
        noisy = self._chosen(count, settings.noise)
        noise = torch.randn(changed[noisy].shape, generator=self.generator)
        changed[noisy] = changed[noisy] + noise * settings.noise_sd
        return changed


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
