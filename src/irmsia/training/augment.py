"""Augmentation of a whole batch at once, in torch, so that feeding is not the bottleneck."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from irmsia.training.recipe import Augmentation

_CURVE_LOWEST, _CURVE_HIGHEST, _CURVE_STEPS, _CURVE_STRENGTH = -2.0, 3.0, 6, 1.0


class Mix(NamedTuple):
    """Which images are mixed: ``share`` of the own one, .5..1, and (N,) indices of the ``partners``."""

    share: float
    partners: Tensor


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

    def draw_mix(self, regions: Tensor, shape: float) -> Mix:
        """Draw a partner of the same region for each image (N,), and one share from Beta(``shape``, ``shape``)."""
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        drawn = float(np.random.default_rng(seed).beta(shape, shape))
        partners = torch.arange(len(regions))
        for region in torch.unique(regions):
            own = torch.nonzero(regions == region).flatten()
            partners[own] = own[torch.randperm(len(own), generator=self.generator)]
        return Mix(max(drawn, 1 - drawn), partners)

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
        if settings.curve > 0:
            images = self._curved(images)
        contrast = self._uniform(count, settings.contrast).exp()[:, None, None, None]
        changed = images * contrast + self._uniform(count, settings.brightness)[:, None, None, None]
        blurred = self._chosen(count, settings.blur)
        changed[blurred] = F.avg_pool2d(changed[blurred], kernel_size=3, stride=1, padding=1)
        noisy = self._chosen(count, settings.noise)
        noise = torch.randn(changed[noisy].shape, generator=self.generator)
        changed[noisy] = changed[noisy] + noise * settings.noise_sd
        return changed

    def _curved(self, images: Tensor) -> Tensor:
        """Put the chosen images' greys, -2..3 standard deviations, through rising curves that keep the padding's 0."""
        chosen = self._chosen(len(images), self.settings.curve)
        steps = self._uniform(len(images) * _CURVE_STEPS, _CURVE_STRENGTH).exp().reshape(-1, _CURVE_STEPS)
        knots = torch.cat([torch.zeros(len(steps), 1), steps.cumsum(1)], dim=1)
        knots = knots / knots[:, -1:] * (_CURVE_HIGHEST - _CURVE_LOWEST) + _CURVE_LOWEST
        place = (images - _CURVE_LOWEST).clamp(0, _CURVE_HIGHEST - _CURVE_LOWEST)
        place = place * _CURVE_STEPS / (_CURVE_HIGHEST - _CURVE_LOWEST)
        left = place.floor().clamp(max=_CURVE_STEPS - 1).long()
        rows = torch.arange(len(images))[:, None, None, None]
        curved = knots[rows, left].lerp(knots[rows, left + 1], place - left)
        return torch.where(chosen[:, None, None, None] & (images != 0), curved, images)


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
