"""Which frames of a file are analysed (contract section 4)."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from irmsia.imaging.frames import EvenlySpaced, OneFrame


@given(st.integers(1, 20_000), st.integers(1, 80))
def test_selection(total: int, most: int) -> None:
    """All frames up to the limit; above it the formula of the contract: ascending, without repeats, within the file."""
    chosen = EvenlySpaced(most)(total)
    assert len(chosen) == min(total, most)
    assert list(chosen) == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < total
    if total > most:
        assert all(index == math.floor((i + 0.5) * total / most) for i, index in enumerate(chosen))


def test_selection_by_hand() -> None:
    """65 frames give 64, 640 the middle of every ten; one frame is itself, or none where the file has fewer."""
    assert EvenlySpaced()(640)[:3] == (5, 15, 25)
    assert len(EvenlySpaced()(65)) == 64
    assert (OneFrame(3)(4), OneFrame(3)(3)) == ((3,), ())
