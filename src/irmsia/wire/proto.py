"""The answer as a proto message and back, lossless: `optional` scalars keep nulls, an enum's zero is null.

Message fields carry the names of the dataclass fields (a test walks both), so one walk serves every message.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import InternalError
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.summary import BatchSummary
from irmsia.findings.types import Diagnosis
from irmsia.wire.fields import FieldShape, Kind, fields_of

T = TypeVar("T")


def diagnosis_to_message(diagnosis: Diagnosis) -> pb.Diagnosis:
    """The answer as ``irmsia.v1.Diagnosis``."""
    return _filled(diagnosis, pb.Diagnosis())


def diagnosis_from_message(message: pb.Diagnosis) -> Diagnosis:
    """The answer in ``message``; unknown fields of a newer server are passed over.

    Raises:
        InternalError: an enum value that this version does not know: half an answer must not pass for a whole one.
    """
    return _read(Diagnosis, message)


def diagnosis_from_bytes(data: bytes) -> Diagnosis:
    """The answer in a serialised ``irmsia.v1.Diagnosis``.

    Raises:
        InternalError: the bytes are no such message.
    """
    try:
        return diagnosis_from_message(pb.Diagnosis.FromString(data))
    except DecodeError:
        raise InternalError("the server's answer cannot be read") from None


def summary_to_message(summary: BatchSummary) -> pb.BatchSummary:
    """Several answers together as ``irmsia.v1.BatchSummary``."""
    return _filled(summary, pb.BatchSummary())


def summary_from_message(message: pb.BatchSummary) -> BatchSummary:
    """Several answers together, read."""
    return _read(BatchSummary, message)


def models_to_message(models: tuple[ModelInfo, ...]) -> pb.GetAvailableModelsResponse:
    """The models list as a reply."""
    return pb.GetAvailableModelsResponse(models=[_filled(model, pb.ModelInfo()) for model in models])


def models_from_message(message: pb.GetAvailableModelsResponse) -> tuple[ModelInfo, ...]:
    """The models list in a reply."""
    return tuple(_read(ModelInfo, model) for model in message.models)


def health_to_message(health: ServiceHealth) -> pb.HealthCheckResponse:
    """The state of a service as a reply."""
    return _filled(health, pb.HealthCheckResponse())


def health_from_message(message: pb.HealthCheckResponse) -> ServiceHealth:
    """The state of a service in a reply."""
    return _read(ServiceHealth, message)


def _filled(value: Any, message: T) -> T:
    for field in fields_of(type(value)):
        content = getattr(value, field.name)
        if content is None:
            continue
        if field.repeated:
            _extend(field, content, getattr(message, field.name))
        elif field.kind is Kind.OBJECT:
            part = getattr(message, field.name)
            part.SetInParent()  # an object whose values are all null is not a null object
            _filled(content, part)
        else:
            setattr(message, field.name, _scalar(field, content))
    return message


def _extend(field: FieldShape, items: tuple[Any, ...], target: Any) -> None:
    for item in items:
        if field.kind is Kind.OBJECT:
            _filled(item, target.add())
        else:
            target.append(_scalar(field, item))


def _scalar(field: FieldShape, value: Any) -> Any:
    match field.kind:
        case Kind.CHOICE:
            return _numbers(field.type)[value]
        case Kind.TEXT:
            # A file name that is no UTF-8 holds surrogates, which no proto string may.
            return str(value).encode("utf-8", "replace").decode("utf-8")
        case _:
            return field.type(value)


def _read(cls: type[T], message: Any) -> T:
    return cls(**{field.name: _read_field(field, message) for field in fields_of(cls)})


def _read_field(field: FieldShape, message: Any) -> Any:
    content = getattr(message, field.name)
    if field.repeated:
        return _read_items(field, content)
    if field.kind is Kind.CHOICE:
        return _read_choice(field, content)
    if field.nullable and not message.HasField(field.name):
        return None
    return _read(field.type, content) if field.kind is Kind.OBJECT else content


def _read_items(field: FieldShape, items: Any) -> tuple[Any, ...]:
    if field.length not in (None, len(items)):
        raise InternalError(f"{field.name} must have {field.length} values")
    if field.kind is Kind.OBJECT:
        return tuple(_read(field.type, item) for item in items)
    return tuple(items)


def _read_choice(field: FieldShape, number: int) -> Any:
    if number == 0 and field.nullable:
        return None
    try:
        return _members(field.type)[number]
    except KeyError:
        raise InternalError(f"{field.name} has a value that this version does not know") from None


@cache
def _numbers(enum: Any) -> dict[Any, int]:
    """Number of each member: proto names are the member's with the enum's name before it (DECISION_ACCEPT)."""
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.__name__).upper()
    descriptor = pb.DESCRIPTOR.enum_types_by_name[enum.__name__]
    return {member: descriptor.values_by_name[f"{prefix}_{member.value}"].number for member in enum}


@cache
def _members(enum: Any) -> dict[int, Any]:
    return {number: member for member, number in _numbers(enum).items()}
