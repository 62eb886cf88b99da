"""The multi-head diagnostic network: one backbone, a router over regions, one label group a region."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irmsia.networks.attention_pooling import AttentionPooling, PooledLogits
from irmsia.networks.catalogue import make_backbone
from irmsia.networks.foreign import ForeignHead

GRID = 3
"""Side of the coarse grid of the refusal statistics: sees a turned image, which means and spreads alone do not."""

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One label group: its region and how many terms it has."""

    region: str
    terms: int


class DiagnosticOutput(NamedTuple):
    """Outputs for a batch of N images.

    Attributes:
        router: (N, regions) logits in the order of the heads.
        groups: region -> pooled logits and maps of its label group.
        statistics: (N, D) float32, see `statistic_slices`.
        lesion: (N, 1, h, w) logits that a place belongs to a lesion; an aid of training, not exported.
    """

    router: Tensor
    groups: dict[str, PooledLogits]
    statistics: Tensor
    lesion: Tensor


class MultiHeadDiagnosticModel(nn.Module):
    """Router and label groups over one backbone.

    Args:
        backbone: name in the catalogue.
        heads: the label groups; the router's regions are theirs, in this order.
        dropout: share of feature channels dropped before the heads while training.

    Attributes:
        foreign: set once it was fitted on the finished features; its score then joins the statistics.
    """

    def __init__(self, backbone: str, heads: tuple[HeadSpec, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone_name = backbone
        self.heads = heads
        self.backbone, (self.early_channels, channels) = make_backbone(backbone)
        self.dropout = nn.Dropout2d(dropout)
        self.router = AttentionPooling(channels, len(heads))
        self.groups = nn.ModuleDict({head.region: AttentionPooling(channels, head.terms) for head in heads})
        self.lesion = nn.Conv2d(channels, 1, kernel_size=1)
        self.last_channels = channels
        self.foreign: ForeignHead | None = None

    def levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the early and the last feature level of images (N, 1, S, S)."""
        early, last = self.backbone(images)
        return early, last

    def forward(self, images: Tensor) -> DiagnosticOutput:
        """Answer images (N, 1, S, S), preprocessed by the bundle's PreprocessSpec."""
        early, last = self.levels(images)
        features = self.dropout(last)
        return DiagnosticOutput(
            router=self.router(features).logits,
            groups={region: pooling(features) for region, pooling in self.groups.items()},
            statistics=self._statistics(early, last),
            lesion=self.lesion(features).float(),
        )

    def statistic_slices(self) -> dict[str, tuple[int, int]]:
        """Return [start, stop) of each named statistic within the ``statistics`` output."""
        spread = 2 * self.early_channels
        grid = spread + GRID * GRID * self.early_channels
        slices = {"mean_std": (0, spread), "grid": (spread, grid)}
        return slices if self.foreign is None else slices | {"foreign": (grid, grid + 1)}

    def _statistics(self, early: Tensor, last: Tensor) -> Tensor:
        statistics = feature_statistics(early)
        if self.foreign is None:
            return statistics
        return torch.cat([statistics, self.foreign(early, last)], dim=1)


def feature_statistics(early: Tensor) -> Tensor:
    """Return (N, 2 C + 9 C) statistics of an early feature level (N, C, h, w): mean, spread, 3 x 3 grid of means.

    Early levels told foreign images better than the last one in a trial; see spec starter-trial.md.
    """
    level = early.float()
    mean = level.mean(dim=(2, 3))
    spread = torch.sqrt((level - mean[:, :, None, None]).square().mean(dim=(2, 3)) + _EPSILON)
    return torch.cat([mean, spread, _grid_means(level).flatten(1)], dim=1)


def _grid_means(level: Tensor) -> Tensor:
    """Return (N, C, 3, 3) means over equal cells, which overlap where the side is no multiple of 3."""
    steps = [side // GRID for side in level.shape[2:]]
    kernel = [side - (GRID - 1) * step for side, step in zip(level.shape[2:], steps, strict=True)]
    return F.avg_pool2d(level, kernel, stride=steps)
