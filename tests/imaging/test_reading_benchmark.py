"""The gates of ``python -m benchmarks.reading`` fire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.reading import CT_SLICES, Row, find_faults

GOOD = Row(
    name=CT_SLICES,
    syntax="1.2.840.10008.1.2.1",
    files=1,
    kilobytes=1,
    pixels="equal",
    ours_ms=1.0,
    peer_ms=3.0,
    ratio=3.0,
    rounds=(3.0, 3.1),
    pool_ms=1.0,
    pool_ratio=3.0,
)


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ({}, ""),
        ({"ratio": 2.4, "rounds": (2.4, 2.4)}, "the goal is 2.5 x"),
        ({"name": "RLE Lossless", "ratio": 0.8, "rounds": (0.8, 0.8)}, "the goal is 0.9 x"),
        ({"rounds": (3.0, 3.4)}, "the rounds disagree"),
        ({"pixels": "within 1"}, "pixels of a lossless syntax differ"),
    ],
)
def test_each_gate_of_the_benchmark_fires(planted: dict[str, object], told: str) -> None:
    """A missed goal, rounds that disagree and pixels that differ fail the command; a good row does not."""
    faults = find_faults([replace(GOOD, **planted)], set())  # type: ignore[arg-type]  # a table of fields
    assert [told in fault for fault in faults] == [True] * bool(told)


def test_a_lossy_syntax_may_differ() -> None:
    """Two decoders of a lossy syntax round apart; that is told and no fault."""
    lossy = replace(GOOD, name="JPEG", pixels="within 1")
    assert find_faults([lossy], {lossy.syntax}) == []
