"""Candidates by hash: what comparing all pairs finds, in a fraction of the time."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.datasets.look_alikes import NEAR_BITS, NEAR_DIFFERENCE_BITS, find_look_alikes
from irmsia.datasets.record import Record
from tests.datasets.made_records import make_record


def _flipped(value: str, bits: int, digits: int, order: random.Random) -> str:
    number = int(value, 16)
    for bit in order.sample(range(4 * digits), bits):
        number ^= 1 << bit
    return f"{number:0{digits}x}"


def _near(record: Record, bits: int, difference_bits: int, order: random.Random) -> Record:
    """A picture of its own whose hashes differ from those of ``record`` in so many bits."""
    return make_record(
        perceptual_hash=_flipped(record.perceptual_hash or "", bits, 16, order),
        difference_hash=_flipped(record.difference_hash or "", difference_bits, 64, order),
    )


@given(st.integers(0, 2**32), st.integers(0, 6), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_what_comparing_all_pairs_finds_is_found(seed: int, bits: int, difference_bits: int) -> None:
    """Two pictures are joined exactly where both distances are small, directly or through others."""
    order = random.Random(seed)
    records = [make_record() for _ in range(12)]
    records += [_near(order.choice(records), bits, difference_bits, order) for _ in range(12)]
    order.shuffle(records)
    group = list(range(len(records)))
    for left, one in enumerate(records):
        for right in range(left):
            if _is_close(one, records[right]):
                low, high = sorted((group[left], group[right]))
                group = [low if name == high else name for name in group]
    assert list(find_look_alikes(records).group) == group


def _is_close(one: Record, other: Record) -> bool:
    bits = (int(one.perceptual_hash or "", 16) ^ int(other.perceptual_hash or "", 16)).bit_count()
    difference = (int(one.difference_hash or "", 16) ^ int(other.difference_hash or "", 16)).bit_count()
    return bits <= NEAR_BITS and difference <= NEAR_DIFFERENCE_BITS


def test_what_cannot_be_compared_looks_like_nothing() -> None:
    """Files with a problem, without hashes, or with hashes of another length stay alone."""
    plain = make_record()
    twin = {"perceptual_hash": plain.perceptual_hash, "difference_hash": plain.difference_hash}
    others = [
        make_record(**twin, problem="TRUNCATED"),
        make_record(perceptual_hash=None),
        make_record(perceptual_hash="ff", difference_hash="ff"),
        make_record(**twin),
    ]
    assert find_look_alikes([plain, *others]).group == (0, 1, 2, 3, 0)
    assert find_look_alikes([]).group == ()


@pytest.mark.slow
def test_a_crowd_of_close_hashes_ends_in_time() -> None:
    """50,000 pictures that share most bits are given up on, said so, and cost seconds, not hours."""
    order = random.Random(0)
    plain = make_record()
    crowd = [
        replace(
            plain, path=str(number), perceptual_hash=f"{order.getrandbits(12):016x}", difference_hash=f"{number:064x}"
        )
        for number in range(50_000)
    ]
    begun = time.process_time()
    found = find_look_alikes(crowd)
    assert not found.is_complete
    assert time.process_time() - begun < 30
