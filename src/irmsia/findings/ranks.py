"""Counting shares of finite samples without the rounding of 0.95 * 20."""

from __future__ import annotations

from math import ceil, floor

# Far above the rounding error of share * count, far below the distance to the next whole number of a sensible share.
SLACK = 1e-9


def ceil_share(count: int, share: float) -> int:
    """The smallest whole number that is at least ``share`` of ``count``; at least 1."""
    return max(1, ceil(count * share - SLACK))


def floor_share(count: int, share: float) -> int:
    """The largest whole number that is at most ``share`` of ``count``."""
    return floor(count * share + SLACK)
