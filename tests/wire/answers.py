"""Arbitrary answers, built from the type hints of the dataclasses themselves, so that a new field joins every law."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import strategies as st

from irmsia.wire.fields import FieldShape, Kind, fields_of

T = TypeVar("T")

_SCALARS: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.text(max_size=12),
    Kind.INTEGER: st.integers(-(2**31), 2**31 - 1),
    Kind.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    Kind.FLAG: st.booleans(),
    Kind.BYTES: st.binary(max_size=24),
}


def any_of(cls: type[T]) -> st.SearchStrategy[T]:
    """Every value that the hints of ``cls`` allow (integers of 32 bits, finite numbers)."""
    return st.builds(cls, **{field.name: _field(field) for field in fields_of(cls)})


def _field(field: FieldShape) -> st.SearchStrategy[Any]:
    value = _value(field)
    if field.repeated:
        size = (field.length, field.length) if field.length else (0, 3)
        value = st.lists(value, min_size=size[0], max_size=size[1]).map(tuple)
    return st.none() | value if field.nullable else value


def _value(field: FieldShape) -> st.SearchStrategy[Any]:
    if field.kind is Kind.OBJECT:
        return any_of(field.type)
    if field.kind is Kind.CHOICE:
        return st.sampled_from(list(field.type))
    return _SCALARS[field.kind]
