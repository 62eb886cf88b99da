"""Attention pooling whose logit is exactly a sum over places, so that its explanation needs no backward pass."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

_HIDDEN = 64


class PooledLogits(NamedTuple):
    """What attention pooling says of a batch.

    Attributes:
        logits: (N, K).
        maps: (N, K, h, w), contribution of each place; ``logits = maps.sum((2, 3)) + bias``.
        log_attention: (N, K, h, w), logarithm of the weights, which sum to 1 over the places.
    """

    logits: Tensor
    maps: Tensor
    log_attention: Tensor


class AttentionPooling(nn.Module):
    """For each term, a weighted mean of a linear score over the places.

    ``logit_k = sum_p attention_k(p) * <value_k, feature(p)> + bias_k`` with the attention a softmax over places of a
    small network (Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", 2018). Each product is one
    place's contribution. It starts as the plain mean: all attention is equal at first.
    """

    def __init__(self, channels: int, terms: int) -> None:
        super().__init__()
        self.value = nn.Conv2d(channels, terms, kernel_size=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(terms))
        self.hidden = nn.Conv2d(channels, _HIDDEN, kernel_size=1)
        self.attention = nn.Conv2d(_HIDDEN, terms, kernel_size=1, bias=False)
        nn.init.zeros_(self.attention.weight)

    def forward(self, features: Tensor) -> PooledLogits:
        """Pool features (N, C, h, w); softmax and sums are taken in float32 whatever the autocast type."""
        scores = self.attention(torch.tanh(self.hidden(features))).float()
        log_attention = scores.flatten(2).log_softmax(dim=2).unflatten(2, scores.shape[2:])
        maps = log_attention.exp() * self.value(features).float()
        return PooledLogits(maps.flatten(2).sum(dim=2) + self.bias, maps, log_attention)
