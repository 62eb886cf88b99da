"""The catalogue of backbones: one row each, by an explicit name."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from irmsia.errors import InvalidRequestError
from irmsia.networks import tv_compat  # noqa: F401 - must come before timm

import timm  # isort: skip


@dataclass(frozen=True, slots=True)
class Backbone:
    """A row of the catalogue.

    Attributes:
        name: what configurations and manifests call it.
        timm_name: the architecture in timm.
        options: arguments of the architecture.
        taps: indices of the early feature level (refusal statistics) and of the last level.
    """

    name: str
    timm_name: str
    options: dict[str, Any] = field(default_factory=dict)
    taps: tuple[int, int] = (2, 4)


_STRIDE = 16
"""Of the last level: a finer contribution map than the usual 32, at equal weights."""


def _narrow_resnet18d(width: int) -> Backbone:
    """ResNet-18-D (He et al., "Bag of tricks", 2018) with ``width`` channels in its first stage instead of 64."""
    channels = tuple(width * factor for factor in (1, 2, 4, 8))
    return Backbone(f"resnet18d_w{width}", "resnet18d", {"channels": channels, "stem_width": 16})


BACKBONES: tuple[Backbone, ...] = (
    _narrow_resnet18d(8),
    _narrow_resnet18d(32),
    _narrow_resnet18d(40),
    Backbone("resnet10t", "resnet10t"),
)


def get_backbone(name: str) -> Backbone:
    """Return the catalogue's row.

    Raises:
        InvalidRequestError: no backbone has this name.
    """
    for row in BACKBONES:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in BACKBONES)
    raise InvalidRequestError(f"no backbone is named {name!r}; known: {known}")


def make_backbone(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """Make a randomly initialised backbone for one-channel images.

    Returns:
        The module and (C1, C2). It maps (N, 1, H, W) to [early (N, C1, H / 8, W / 8), last (N, C2, H / 16, W / 16)].
    """
    row = get_backbone(name)
    module: Any = timm.create_model(
        row.timm_name,
        pretrained=False,
        in_chans=1,
        features_only=True,
        out_indices=row.taps,
        output_stride=_STRIDE,
        **row.options,
    )
    early, last = module.feature_info.channels()
    return module, (early, last)
