from __future__ import annotations

import base64
import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import InternalError, InvalidRequestError
from irmsia.findings import service, types
from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis, Explanation, GridToImage, Source, SourceSpacing, Timings
from irmsia.wire import json as wire_json
from irmsia.wire import proto as wire_proto
from irmsia.wire.fields import Kind, fields_of
from tests.wire.answers import any_of

LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
DATACLASSES = [
    value
    for module in (types, service)
    for value in vars(module).values()
    if dataclasses.is_dataclass(value) and value.__module__ == module.__name__
]
KEYS = (
    "input source decision reason rule region modality primary findings severity risk urgency conformal_set frames "
    "explanation segmentation measures model evidence timings_ms warnings disclaimer error"
)


@LAW
@given(any_of(Diagnosis))
def test_json_round_trip(diagnosis: Diagnosis) -> None:
    """Through one line of strict JSON every answer comes back as it was, nulls and the last bit of a number too."""
    assert wire_json.diagnosis_from_json(json.loads(wire_json.diagnosis_to_line(diagnosis))) == diagnosis


@LAW
@given(any_of(Diagnosis))
def test_proto_round_trip(diagnosis: Diagnosis) -> None:
    """Through the bytes of a proto message every answer comes back as it was."""
    data = wire_proto.diagnosis_to_message(diagnosis).SerializeToString()
    assert wire_proto.diagnosis_from_bytes(data) == diagnosis


@LAW
@given(any_of(Diagnosis))
def test_both_wires_say_the_same(diagnosis: Diagnosis) -> None:
    """An answer that came over gRPC prints the same JSON as one made in the process."""
    over = wire_proto.diagnosis_from_message(wire_proto.diagnosis_to_message(diagnosis))
    assert wire_json.diagnosis_to_line(over) == wire_json.diagnosis_to_line(diagnosis)


@settings(max_examples=30, deadline=None)
@given(st.lists(any_of(ModelInfo), max_size=3).map(tuple), any_of(ServiceHealth))
def test_models_and_health_round_trip(models: tuple[ModelInfo, ...], health: ServiceHealth) -> None:
    """The models list and the state of a service travel without loss."""
    assert wire_proto.models_from_message(wire_proto.models_to_message(models)) == models
    assert wire_proto.health_from_message(wire_proto.health_to_message(health)) == health


@pytest.mark.parametrize("cls", DATACLASSES, ids=lambda cls: cls.__name__)
def test_every_dataclass_has_its_message(cls: type) -> None:
    """Each dataclass has a message with the very same fields, `optional` where null is allowed."""
    name = {"ServiceHealth": "HealthCheckResponse"}.get(cls.__name__, cls.__name__)
    message = pb.DESCRIPTOR.message_types_by_name[name]
    shapes = {shape.name: shape for shape in fields_of(cls)}
    assert {field.name for field in message.fields} == set(shapes)
    for field in message.fields:
        shape = shapes[field.name]
        if shape.kind not in (Kind.CHOICE, Kind.OBJECT) and not shape.repeated:
            assert field.has_presence == shape.nullable, field.full_name


def test_numbers_are_doubles() -> None:
    """No number of the answer is a float32 on the wire."""
    fields = [field for message in pb.DESCRIPTOR.message_types_by_name.values() for field in message.fields]
    assert not [field.full_name for field in fields if field.type == field.TYPE_FLOAT]


def test_enum_zero_is_null() -> None:
    """The zero of every enum is UNSPECIFIED."""
    for enum in pb.DESCRIPTOR.enum_types_by_name.values():
        assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


def test_typed_messages() -> None:
    """The contract has at least twenty typed messages and six calls."""
    assert len(pb.DESCRIPTOR.message_types_by_name) >= 20
    calls = pb.DESCRIPTOR.services_by_name["DicomDiagnosticService"].methods
    assert [call.name for call in calls] == [
        "HealthCheck",
        "GetAvailableModels",
        "DiagnoseDicom",
        "DiagnoseDicomStream",
        "DiagnoseBatch",
        "DiagnoseBatchStream",
    ]


def test_json_keys_are_the_contract() -> None:
    """The keys of an answer are those of contract section 4, in its order, nulls printed."""
    empty = wire_json.diagnosis_to_json(Diagnosis())
    assert list(empty) == KEYS.split()
    assert empty["primary"] is None and empty["findings"] == []


def test_json_forms() -> None:
    """Spacing is [slice, row, column], a map base64 of float32 little-endian, a shape a list, an enum short."""
    grid = np.array([[1.5, -2.0, 0.0]], dtype="<f4")
    explanation = Explanation("cam", "pneumonia", 0, (1, 3), GridToImage(0, 0, 8, 8), grid.tobytes())
    answer = wire_json.diagnosis_to_json(
        Diagnosis(
            source=Source(spacing_mm=SourceSpacing(None, 0.5, 0.25)),
            decision=types.Decision.REFUSE,
            reason=types.Reason.BLANK,
            explanation=explanation,
        )
    )
    assert answer["source"]["spacing_mm"] == [None, 0.5, 0.25]
    assert answer["explanation"]["shape"] == [1, 3]
    assert np.frombuffer(base64.b64decode(answer["explanation"]["map"]), "<f4").tolist() == [1.5, -2.0, 0.0]
    assert (answer["decision"], answer["reason"], answer["explanation"]["overlay_png"]) == ("REFUSE", "BLANK", None)


def test_numpy_numbers_become_plain() -> None:
    """A numpy number that slipped into an answer is an ordinary double on both wires."""
    answer = Diagnosis(rule=np.int64(8), timings_ms=Timings(total=np.float64(1.25)))  # type: ignore[arg-type]
    assert json.loads(wire_json.diagnosis_to_line(answer))["timings_ms"]["total"] == 1.25
    assert wire_proto.diagnosis_to_message(answer).rule == 8


def test_line_refuses_what_is_not_finite() -> None:
    """NaN never reaches a line of JSON."""
    with pytest.raises(ValueError, match="JSON"):
        wire_json.diagnosis_to_line(Diagnosis(timings_ms=Timings(total=math.nan)))


def test_unknown_keys_are_passed_over() -> None:
    """An answer of a newer version reads."""
    data = wire_json.diagnosis_to_json(Diagnosis(input="a")) | {"later": [1]}
    assert wire_json.diagnosis_from_json(data) == Diagnosis(input="a")


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "MAYBE"},
        {"rule": "8"},
        {"rule": True},
        {"primary": {"label": "normal"}},
        {"primary": []},
        {"findings": None},
        {"findings": {}},
        {"timings_ms": {"total": "1"}},
        {"source": {"spacing_mm": [1.0, 2.0]}},
        {"segmentation": {"term": "t", "shape": [1], "mask": ""}},
        {"segmentation": {"term": "t", "shape": [1, 1], "mask": "*"}},
        {"segmentation": {"term": "t", "shape": [1, 1], "mask": 3}},
    ],
)
def test_malformed_json_is_a_typed_error(change: dict[str, Any]) -> None:
    """JSON that is no answer is INVALID_REQUEST, never a bare exception."""
    with pytest.raises(InvalidRequestError):
        wire_json.diagnosis_from_json(wire_json.diagnosis_to_json(Diagnosis()) | change)


def test_json_must_be_an_object() -> None:
    """A list is no answer."""
    with pytest.raises(InvalidRequestError):
        wire_json.diagnosis_from_json([])


def test_unknown_enum_value_is_not_null() -> None:
    """A decision that this version does not know must not read as no decision."""
    with pytest.raises(InternalError):
        wire_proto.diagnosis_from_message(pb.Diagnosis(decision=99))  # type: ignore[arg-type]


def test_foreign_bytes_are_a_typed_error() -> None:
    """Bytes that are no message, or a message whose map has no shape, are INTERNAL."""
    with pytest.raises(InternalError):
        wire_proto.diagnosis_from_bytes(b"\xff\xff")
    with pytest.raises(InternalError):
        wire_proto.diagnosis_from_message(pb.Diagnosis(explanation=pb.Explanation(term="t")))


def test_a_name_that_is_no_text_still_travels() -> None:
    """A file name that is no UTF-8 does not break the message."""
    assert wire_proto.diagnosis_to_message(Diagnosis(input="a\udcff")).input == "a?"
