"""JSON schemas of what travels, read from the dataclasses themselves: the OpenAPI document cannot lag behind them."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from irmsia.errors import iter_leaves
from irmsia.findings.summary import BatchSummary
from irmsia.findings.types import SourceSpacing
from irmsia.wire import Diagnosis, ModelInfo, ServiceHealth
from irmsia.wire.fields import FieldShape, Kind, fields_of

_PLAIN: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.FLAG: {"type": "boolean"},
    Kind.BYTES: {"type": "string", "contentEncoding": "base64"},
}


def schema_reference(name: str) -> dict[str, Any]:
    """A reference to one of `component_schemas`."""
    return {"$ref": f"#/components/schemas/{name}"}


def component_schemas() -> dict[str, Any]:
    """Every schema by its name."""
    schemas: dict[str, Any] = {}
    for root in (Diagnosis, ModelInfo, ServiceHealth, BatchSummary):
        _add(root, schemas)
    return dict(sorted({**schemas, **_OWN, "ProblemDetails": _problem()}.items()))


def _add(cls: type, schemas: dict[str, Any]) -> None:
    if cls.__name__ in schemas:
        return
    if cls is SourceSpacing:
        item = {"type": ["number", "null"]}
        schemas[cls.__name__] = {
            "type": "array",
            "description": "Millimetres along slice, row and column",
            "prefixItems": [item] * len(fields_of(cls)),
            "minItems": len(fields_of(cls)),
            "maxItems": len(fields_of(cls)),
        }
        return
    shapes = fields_of(cls)
    schemas[cls.__name__] = {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split()),
        "properties": {shape.name: _value(shape) for shape in shapes},
        "required": [field.name for field in _required(cls)],
    }
    for shape in shapes:
        if shape.kind is Kind.OBJECT:
            _add(shape.type, schemas)


def _required(cls: Any) -> list[Any]:
    return [field for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]


def _value(shape: FieldShape) -> dict[str, Any]:
    one = _one(shape)
    if shape.repeated:
        bounds = {} if shape.length is None else {"minItems": shape.length, "maxItems": shape.length}
        one = {"type": "array", "items": one, **bounds}
    return {"anyOf": [one, {"type": "null"}]} if shape.nullable else one


def _one(shape: FieldShape) -> dict[str, Any]:
    if shape.kind is Kind.OBJECT:
        return schema_reference(shape.type.__name__)
    if shape.kind is Kind.CHOICE:
        return {"type": "string", "enum": [str(choice) for choice in shape.type]}  # type: ignore[attr-defined] # an enum
    return _PLAIN[shape.kind]


def _problem() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "RFC 9457. `code` is stable; `diagnosis` is what is known of an image that failed.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": [leaf.code for leaf in iter_leaves()]},
            "diagnosis": schema_reference("Diagnosis"),
        },
        "required": ["type", "title", "status", "detail", "code"],
    }


_OWN: dict[str, Any] = {
    "Upload": {
        "type": "object",
        "description": "One kept image.",
        "properties": {
            "upload_id": {"type": "string"},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "size": {"type": "integer"},
            "expires_at": {"type": "string", "format": "date-time"},
        },
        "required": ["upload_id", "sha256", "size"],
    },
    "GroupedAnswers": {
        "type": "object",
        "description": "The answers in the order given, and what they are together by study and series.",
        "properties": {
            "answers": {"type": "array", "items": schema_reference("Diagnosis")},
            "summary": schema_reference("BatchSummary"),
        },
        "required": ["answers", "summary"],
    },
    "Live": {"type": "object", "properties": {"live": {"type": "boolean"}}, "required": ["live"]},
}
