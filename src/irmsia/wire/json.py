"""The answer as JSON (contract section 4): snake_case, nulls printed, enums short, bytes as base64, and back.

``spacing_mm`` is the list [slice, row, column]; a map is base64 of float32 little-endian beside its ``shape``.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from irmsia.errors import InvalidRequestError
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.summary import BatchSummary
from irmsia.findings.types import Diagnosis, SourceSpacing
from irmsia.wire.fields import FieldShape, Kind, fields_of

T = TypeVar("T")

_AS_LISTS: frozenset[type] = frozenset({SourceSpacing})
"""Dataclasses that are lists in JSON, in the order of their fields."""


def diagnosis_to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The answer as a JSON object; equal answers give equal objects with keys in the contract's order."""
    return _object_to_json(diagnosis)


def diagnosis_from_json(data: Any) -> Diagnosis:
    """The answer that `diagnosis_to_json` made. Unknown keys are passed over, so that older readers read newer answers.

    Raises:
        InvalidRequestError: a key that must be there is missing or a value is of another type.
    """
    return _object_from_json(Diagnosis, data)


def diagnosis_to_line(diagnosis: Diagnosis) -> str:
    """One line of strict JSON in ASCII without its newline.

    Raises:
        ValueError: a number is not finite, which no answer may hold.
    """
    return json.dumps(diagnosis_to_json(diagnosis), allow_nan=False, separators=(",", ":"))


def summary_to_json(summary: BatchSummary) -> dict[str, Any]:
    """Several answers together."""
    return _object_to_json(summary)


def model_to_json(model: ModelInfo) -> dict[str, Any]:
    """One row of the models list."""
    return _object_to_json(model)


def health_to_json(health: ServiceHealth) -> dict[str, Any]:
    """The state of a service."""
    return _object_to_json(health)


def _object_to_json(value: Any) -> dict[str, Any]:
    return {field.name: _field_to_json(field, getattr(value, field.name)) for field in fields_of(type(value))}


def _field_to_json(field: FieldShape, value: Any) -> Any:
    if value is None:
        return None
    if field.repeated:
        return [_value_to_json(field, item) for item in value]
    return _value_to_json(field, value)


def _value_to_json(field: FieldShape, value: Any) -> Any:
    match field.kind:
        case Kind.OBJECT:
            as_object = _object_to_json(value)
            return list(as_object.values()) if field.type in _AS_LISTS else as_object
        case Kind.CHOICE:
            return value.value
        case Kind.BYTES:
            return base64.b64encode(value).decode("ascii")
        case _:
            return field.type(value)  # numpy numbers and str enums become plain ones


def _object_from_json(cls: type[T], data: Any) -> T:
    shapes = fields_of(cls)
    if cls in _AS_LISTS:
        data = _named(shapes, data)
    if not isinstance(data, dict):
        raise InvalidRequestError(f"{cls.__name__} must be a JSON object")
    present = {shape.name: _field_from_json(shape, data[shape.name]) for shape in shapes if shape.name in data}
    missing = _required(cls) - present.keys()
    if missing:
        raise InvalidRequestError(f"{cls.__name__} lacks {', '.join(sorted(missing))}")
    return cls(**present)


def _named(shapes: tuple[FieldShape, ...], data: Any) -> dict[str, Any]:
    if not isinstance(data, list) or len(data) != len(shapes):
        raise InvalidRequestError(f"expected a list of {len(shapes)} values")
    return dict(zip((shape.name for shape in shapes), data, strict=True))


def _required(cls: Any) -> set[str]:
    return {field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING}


def _field_from_json(field: FieldShape, data: Any) -> Any:
    if data is None and field.nullable:
        return None
    if not field.repeated:
        return _value_from_json(field, data)
    if not isinstance(data, list) or field.length not in (None, len(data)):
        raise InvalidRequestError(f"{field.name} must be a list" + (f" of {field.length}" if field.length else ""))
    return tuple(_value_from_json(field, item) for item in data)


def _value_from_json(field: FieldShape, data: Any) -> Any:
    match field.kind:
        case Kind.OBJECT:
            return _object_from_json(field.type, data)
        case Kind.CHOICE:
            return _choice(field, data)
        case Kind.BYTES:
            return _decoded(field, data)
        case Kind.NUMBER if isinstance(data, int | float) and not isinstance(data, bool):
            return float(data)
        case _ if type(data) is field.type:
            return data
    raise InvalidRequestError(f"{field.name} must be of type {field.type.__name__}")


def _choice(field: FieldShape, data: Any) -> Any:
    try:
        return field.type(data)
    except ValueError:
        raise InvalidRequestError(f"{field.name} has a value that this version does not know") from None


def _decoded(field: FieldShape, data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidRequestError(f"{field.name} must be base64") from None
