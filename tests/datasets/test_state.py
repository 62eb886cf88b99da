"""The id of a dataset's state: RFC 6962 over what it holds, and over nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.state import EMPTY, merkle_root, state_id

# The published vectors of Certificate Transparency: the roots over the first 1, 2 ... 8 of these leaves.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
labels = st.none() | st.text(st.characters(codec="utf-8"), max_size=8)
contents = st.lists(st.tuples(digests, labels), max_size=40)


def _by_definition(leaves: list[bytes]) -> bytes:
    """The tree as section 2.1 of RFC 6962 defines it, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + _by_definition(leaves[:k]) + _by_definition(leaves[k:])).digest()


def test_published_roots() -> None:
    """The roots of Certificate Transparency's own test leaves come out."""
    assert [merkle_root(LEAVES[: n + 1]).hex() for n in range(8)] == ROOTS
    assert merkle_root([]).hex() == EMPTY == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_the_root_is_that_of_the_definition(leaves: list[bytes]) -> None:
    """Level by level gives the tree that the recursion defines, for every number of leaves."""
    assert merkle_root(leaves) == _by_definition(leaves)


@given(contents, st.randoms(use_true_random=False))
def test_order_does_not_count(samples: list[tuple[str, str | None]], random: object) -> None:
    """The same samples in any order are the same state."""
    shuffled = samples[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert state_id(shuffled) == state_id(samples)


@given(contents, st.tuples(digests, labels), st.tuples(digests, labels))
def test_what_a_sample_is_counts(
    samples: list[tuple[str, str | None]], one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    """Another digest or another label, none and the empty one included, is another state; so is one sample more."""
    assert (state_id([*samples, one]) == state_id([*samples, other])) == (one == other)
    assert state_id([*samples, one]) != state_id(samples)
    assert state_id([*samples, one, one]) != state_id([*samples, one])


def test_one_state_by_hand() -> None:
    """An unlabelled sample's leaf is its digest; a label follows after a zero byte."""
    first, second = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    entries = sorted([bytes.fromhex(first), bytes.fromhex(second) + b"\x00b\xc3\xa9nin"])
    assert state_id([(second, "bénin"), (first, None)]) == _by_definition(entries).hex()


@pytest.mark.parametrize("sample", [("ab", None), ("ab" * 33, None), ("zz" * 32, None), ("ab" * 32, "\ud800")])
def test_what_is_no_sample_is_refused(sample: tuple[str, str | None]) -> None:
    """A digest that is none, and a label that is no text, have no state."""
    with pytest.raises(ValueError):
        state_id([sample])
