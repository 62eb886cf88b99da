"""What the fields of a dataclass are, read once from its type hints. JSON and proto both walk this one description."""

from __future__ import annotations

import types
from collections.abc import Hashable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints


class Kind(Enum):
    """What one value is."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    BYTES = "bytes"
    CHOICE = "choice"
    OBJECT = "object"


_SCALARS = {str: Kind.TEXT, int: Kind.INTEGER, float: Kind.NUMBER, bool: Kind.FLAG, bytes: Kind.BYTES}


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One field: ``type`` is the class of one value, ``length`` the fixed length of a repeated field or null."""

    name: str
    kind: Kind
    type: type
    nullable: bool
    repeated: bool
    length: int | None


def fields_of(cls: type) -> tuple[FieldShape, ...]:
    """The fields of the dataclass ``cls`` in their order.

    Raises:
        TypeError: a hint of a kind that no wire carries.
    """
    return _described(cast(Hashable, cls))  # mypy does not see that a class is hashable


@cache
def _described(cls: Any) -> tuple[FieldShape, ...]:
    hints = get_type_hints(cls)
    return tuple(_field_shape(field.name, hints[field.name]) for field in fields(cls))


def _field_shape(name: str, hint: Any) -> FieldShape:
    inner, nullable = _without_none(hint)
    value, repeated, length = _item_of(inner)
    return FieldShape(name, _kind_of(value), value, nullable, repeated, length)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    rest = [part for part in get_args(hint) if part is not types.NoneType]
    if len(rest) != 1:
        raise TypeError(f"a field is one type or null, not {hint}")
    return rest[0], True


def _item_of(hint: Any) -> tuple[type, bool, int | None]:
    """The class of one value, whether it is repeated, and how often if that is fixed."""
    if get_origin(hint) is not tuple:
        return hint, False, None
    parts = get_args(hint)
    if parts[-1] is Ellipsis:
        return parts[0], True, None
    if len(set(parts)) != 1:
        raise TypeError(f"a tuple holds one type, not {hint}")
    return parts[0], True, len(parts)


def _kind_of(value: type) -> Kind:
    if value in _SCALARS:
        return _SCALARS[value]
    if is_dataclass(value):
        return Kind.OBJECT
    if isinstance(value, type) and issubclass(value, StrEnum):
        return Kind.CHOICE
    raise TypeError(f"no wire carries {value}")
