"""One manifest, one id."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.bundles.canonical import bundle_id, canonical_bytes, parse_json
from irmsia.errors import BundleRejectedError

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=12
)


@settings(deadline=None)
@given(value=st.dictionaries(st.text(), _VALUES, min_size=1), order=st.randoms(), indent=st.none() | st.integers(0, 4))
def test_id_depends_on_content_alone(value: dict[str, object], order: object, indent: int | None) -> None:
    """Key order and white space of manifest.json change nothing; a changed value does."""
    keys = list(value)
    order.shuffle(keys)  # type: ignore[attr-defined]
    text = json.dumps({key: value[key] for key in keys}, indent=indent).encode()
    identity = bundle_id(canonical_bytes(parse_json(text)))
    assert identity == bundle_id(canonical_bytes(value))
    assert identity != bundle_id(canonical_bytes({**value, keys[0]: "\0other"}))


@settings(deadline=None)
@given(value=_VALUES)
def test_canonical_form_is_a_fixed_point(value: object) -> None:
    """Reading the canonical form and writing it again gives the same bytes."""
    text = canonical_bytes(value)
    assert canonical_bytes(parse_json(text)) == text


def test_rfc_8785_example() -> None:
    """The example of RFC 8785 section 3.2.3 comes out as the RFC prints it (numbers, escapes, key order)."""
    text = (
        rb'{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false]}'
    )
    expected = b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    assert canonical_bytes(parse_json(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"\xff",
        b"",
        b"{}x",
        b"9007199254740993",
        b"1" * 400,
        b"1" * 5000,
        b"0." + b"1" * 5000,
        b'"\\ud800"',
    ],
)
def test_rejects_what_has_no_single_meaning(text: bytes) -> None:
    """Unfinite numbers, doubled keys, deep nesting, broken text and inexact integers are BUNDLE_REJECTED."""
    with pytest.raises(BundleRejectedError):
        canonical_bytes(parse_json(text))
