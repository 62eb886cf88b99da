"""Which frames of a file are analysed."""

from __future__ import annotations

from dataclasses import dataclass

MOST_FRAMES = 64
"""Frames of one file that are analysed at most, contract section 4."""


@dataclass(frozen=True, slots=True)
class EvenlySpaced:
    """At most ``most`` frames, evenly spaced: numbers floor((i + .5) n / most) of n."""

    most: int = MOST_FRAMES

    def __call__(self, total: int) -> tuple[int, ...]:
        """The frame numbers kept of ``total``, ascending."""
        if total <= self.most:
            return tuple(range(total))
        return tuple((2 * index + 1) * total // (2 * self.most) for index in range(self.most))


@dataclass(frozen=True, slots=True)
class OneFrame:
    """Only frame ``index``; none where the file has fewer."""

    index: int = 0

    def __call__(self, total: int) -> tuple[int, ...]:
        """The frame number kept of ``total``."""
        return (self.index,) if 0 <= self.index < total else ()
