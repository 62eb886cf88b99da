from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import AddressInUseError, OverloadedError, UnsafeSettingsError
from irmsia.findings.types import Diagnosis, Evidence, Problem
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.server.admission import AdmissionLimits
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.server import DiagnosticServer
from irmsia.server.uploads import Uploads
from irmsia.wire import SERVICE
from irmsia.wire.proto import diagnosis_from_message
from irmsia.wire.status import DETAILS_KEY
from tests.server.scripted import MODEL_INFO, Door, ScriptedService, make_answer, open_door

KIB = 1024
CANARY = "DOE^JANE /srv/secret/scan.dcm"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def door() -> Iterator[Door]:
    """A served service."""
    with open_door() as door:
        yield door


class Wire:
    """A bare gRPC channel, as a stranger's program has it."""

    def __init__(self, door: Door) -> None:
        self.channel = grpc.insecure_channel(
            door.target, options=[("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
        )
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def method(self, name: str) -> grpc.UnaryUnaryMultiCallable:
        """One call by its name, bytes in and bytes out."""
        return self.channel.unary_unary(f"/{SERVICE}/{name}")

    def diagnose(self, timeout: float | None = 30, **fields: object) -> Diagnosis:
        """One image."""
        data = self.method("DiagnoseDicom")(pb.DiagnoseDicomRequest(**fields).SerializeToString(), timeout=timeout)
        return diagnosis_from_message(pb.Diagnosis.FromString(data))

    def failure(self, data: bytes = b"", *, timeout: float = 30, **fields: object) -> tuple[grpc.Call, str, set[str]]:
        """The failed call, the reason in its ErrorInfo and the types of its details."""
        data = data or pb.DiagnoseDicomRequest(**fields).SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            self.method("DiagnoseDicom")(data, timeout=timeout)
        return caught.value, *reason_of(caught.value)

    def state(self, name: str = "") -> int:
        """What grpc.health.v1 says."""
        return self.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status


def reason_of(call: grpc.Call) -> tuple[str, set[str]]:
    """The reason in the ErrorInfo of a failed call, and the types of its details."""
    raw = dict(call.trailing_metadata() or ()).get(DETAILS_KEY)
    details = status_pb2.Status.FromString(raw).details if raw else ()
    info = error_details_pb2.ErrorInfo()
    for detail in details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            assert info.domain == "irmsia"
    return info.reason, {detail.TypeName() for detail in details}


def until(condition, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
    """Wait for a condition that must come true."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        threading.Event().wait(0.005)


def test_unary(door: Door) -> None:
    """An image goes in, the service's very answer comes out, and every option reaches the service."""
    with Wire(door) as wire:
        answer = wire.diagnose(
            timeout=20, content=b"image", input="a.png", heatmap=True, overlay=True, term="pneumonia", model="starter",
            segmentation=True, all_findings=True,
        )  # fmt: skip
    request = door.service.requests[0]
    assert answer == make_answer(request)
    assert answer.explanation is not None
    asked = replace(request, deadline=None, client="")
    assert asked == DiagnoseRequest(
        "a.png", b"image", heatmap=True, overlay=True, term="pneumonia", segmentation=True, model="starter",
        all_findings=True,
    )  # fmt: skip
    assert request.deadline is not None and request.client
    assert 0 < request.deadline - time.monotonic() <= 21


def test_nulls_stay_null(door: Door) -> None:
    """What was not said arrives as null, not as an empty text."""
    with Wire(door) as wire:
        assert wire.diagnose(content=b"image").input is None
    request = door.service.requests[0]
    assert (request.input, request.term, request.model, request.heatmap) == (None, None, None, False)


def test_a_large_image_fits(door: Door) -> None:
    """An image of exactly 64 MiB goes through one message."""
    with Wire(door) as wire:
        assert wire.diagnose(content=bytes(64 * KIB * KIB)).evidence is not None


def test_oversize_and_overload_differ() -> None:
    """Both are RESOURCE_EXHAUSTED; the reason tells them apart, and only overload says when to come back."""
    service = ScriptedService()
    with open_door(service, GrpcServerConfig(port=0, image_bytes=64 * KIB)) as door, Wire(door) as wire:
        oversize, too_large, details = wire.failure(content=bytes(64 * KIB + 1))
        assert (oversize.code(), too_large) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        assert "google.rpc.RetryInfo" not in details
        service.submitting = lambda: (_ for _ in ()).throw(OverloadedError("the queue is full", 2.5))
        overload, full, details = wire.failure(content=b"image")
        assert (overload.code(), full) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert "google.rpc.RetryInfo" in details
        beyond, none, _ = wire.failure(content=bytes(1000 * KIB))
        assert (beyond.code(), none) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")  # gRPC's own, from twice the limit on
        service.submitting = lambda: None
        assert wire.diagnose(content=b"image").rule == 8


def test_too_many_calls_are_turned_away() -> None:
    """One more than may be inside is OVERLOADED before its image is taken in; who is inside is answered."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_door(service, GrpcServerConfig(port=0, admission=AdmissionLimits(calls=2))) as door, Wire(door) as wire:
        data = pb.DiagnoseDicomRequest(content=b"image").SerializeToString()
        inside = [wire.method("DiagnoseDicom").future(data, timeout=30) for _ in range(2)]
        until(lambda: len(service.requests) == 2)
        call, reason, _ = wire.failure(content=b"image")
        gate.set()
        assert (call.code(), reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert [pb.Diagnosis.FromString(one.result()).rule for one in inside] == [8, 8]


def test_too_many_bytes_are_turned_away() -> None:
    """Images that wait for an answer have a bound together."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with (
        open_door(service, GrpcServerConfig(port=0, admission=AdmissionLimits(held_bytes=1000))) as door,
        Wire(door) as wire,
    ):
        first = wire.method("DiagnoseDicom").future(pb.DiagnoseDicomRequest(content=bytes(1500)).SerializeToString())
        until(lambda: len(service.requests) == 1)
        assert wire.failure(content=b"image")[1] == "OVERLOADED"
        gate.set()
        first.result(30)
        until(lambda: door.server._admission.held_bytes == 0)
        assert wire.diagnose(content=b"image").rule == 8


def test_deadline_ends_the_call_and_the_work() -> None:
    """A caller's deadline is kept, told to the service, and what has not begun is dropped."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_door(service) as door, Wire(door) as wire:
        data = pb.DiagnoseDicomRequest(content=b"image").SerializeToString()
        busy = [wire.method("DiagnoseDicom").future(data, timeout=30) for _ in range(4)]
        until(lambda: len(service.requests) == 4)
        call, _, _ = wire.failure(timeout=1.0, content=b"image")
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(service.futures[-1].cancelled)
        gate.set()
        assert all(one.result(30) for one in busy)
        until(lambda: door.server._admission.calls == 0)


def test_a_call_without_deadline_ends_too() -> None:
    """The server's own limit holds for who names no deadline, as a typed TIMED_OUT."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_door(service, GrpcServerConfig(port=0, request_s=0.2)) as door, Wire(door) as wire:
        with pytest.raises(grpc.RpcError) as caught:
            wire.diagnose(timeout=None, content=b"image")
        gate.set()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of(caught.value)[0] == "TIMED_OUT"


def test_a_slow_sender_is_turned_away() -> None:
    """A request that does not come in keeps its turn only so long."""
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(30)
        yield from ()

    config = GrpcServerConfig(port=0, receive_s=0.2, admission=AdmissionLimits(receivers=1))
    with open_door(config=config) as door, Wire(door) as wire:
        with pytest.raises(grpc.RpcError) as caught:
            wire.channel.stream_unary(f"/{SERVICE}/DiagnoseDicom")(never(), timeout=30)
        done.set()
        assert reason_of(caught.value)[0] == "TIMED_OUT"
        assert wire.diagnose(content=b"image").rule == 8


def test_cancelling_drops_the_work() -> None:
    """A caller that goes away leaves nothing behind in the queue."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_door(service) as door, Wire(door) as wire:
        data = pb.DiagnoseDicomRequest(content=b"image").SerializeToString()
        calls = [wire.method("DiagnoseDicom").future(data) for _ in range(5)]
        until(lambda: len(service.requests) == 5)
        for call in calls:
            call.cancel()
        until(lambda: door.server._admission.calls == 0)
        assert service.futures[-1].cancelled()
        gate.set()


def test_the_service_may_drop_a_request() -> None:
    """A future that the service cancels is CANCELLED for the caller, not a hang."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_door(service) as door, Wire(door) as wire:
        data = pb.DiagnoseDicomRequest(content=b"image").SerializeToString()
        calls = [wire.method("DiagnoseDicom").future(data, timeout=30) for _ in range(5)]
        until(lambda: len(service.requests) == 5)
        assert service.futures[-1].cancel()
        until(lambda: any(call.done() for call in calls))
        dropped = next(call for call in calls if call.done())
        gate.set()
        assert reason_of(dropped)[0] == "CANCELLED"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\xff\xff\xff", "INVALID_REQUEST"), (pb.DiagnoseDicomRequest(model="m").SerializeToString(), "NOT_AN_IMAGE")],
)
def test_malformed_requests(door: Door, data: bytes, reason: str) -> None:
    """Bytes that are no request are INVALID_REQUEST; an image without a byte is what an empty file is elsewhere."""
    with Wire(door) as wire:
        call, said, _ = wire.failure(data)
        assert (call.code(), said) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


def test_a_call_without_message(door: Door) -> None:
    """A call that ends before it says anything is INVALID_REQUEST."""
    with Wire(door) as wire, pytest.raises(grpc.RpcError) as caught:
        wire.channel.stream_unary(f"/{SERVICE}/DiagnoseDicom")(iter(()), timeout=30)
    assert reason_of(caught.value)[0] == "INVALID_REQUEST"


def test_a_failed_image_is_a_status_with_its_answer() -> None:
    """An item's error travels as the table says, with its code and all that is known of the image."""
    known = Diagnosis(evidence=Evidence(input_sha256="0" * 64), error=Problem("TRUNCATED", "the stream ends early"))
    with open_door(ScriptedService(lambda request: known)) as door, Wire(door) as wire:
        call, reason, details = wire.failure(content=b"image")
    assert (call.code(), reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TRUNCATED")
    assert call.details() == "the stream ends early"
    assert "irmsia.v1.Diagnosis" in details


def test_a_bug_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A stranger's exception is INTERNAL: its text reaches neither the caller nor the log, which has one line."""

    def broken(request: DiagnoseRequest) -> Diagnosis:
        raise ValueError(CANARY)

    with open_door(ScriptedService(broken)) as door, Wire(door) as wire, caplog.at_level(logging.DEBUG, "irmsia"):
        call, reason, _ = wire.failure(content=b"image")
    assert (call.code(), reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    said = (
        str(call.details()) + str(call.trailing_metadata()) + caplog.text + repr([r.__dict__ for r in caplog.records])
    )
    assert CANARY not in said and "secret" not in said
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == ["call failed"]


def test_models_and_health_calls(door: Door) -> None:
    """The small calls answer what the service says."""
    with Wire(door) as wire:
        models = pb.GetAvailableModelsResponse.FromString(wire.method("GetAvailableModels")(b"", timeout=30)).models
        health = pb.HealthCheckResponse.FromString(wire.method("HealthCheck")(b"", timeout=30))
    assert [model.id for model in models] == [MODEL_INFO.id]
    assert (health.ready, health.model.name, health.capacity) == (True, "starter", 8)


def test_unknown_methods(door: Door) -> None:
    """A call that the contract does not hold is UNIMPLEMENTED."""
    with Wire(door) as wire:
        with pytest.raises(grpc.RpcError) as caught:
            wire.method("Nothing")(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_standard_health_follows_the_service() -> None:
    """grpc.health.v1 tells the service's readiness, for the server and for our service by name."""
    service = ScriptedService()
    with open_door(service, GrpcServerConfig(port=0, readiness_s=0.01)) as door, Wire(door) as wire:
        assert (wire.state(), wire.state(SERVICE)) == (SERVING, SERVING)
        service.state = replace(service.state, ready=False, reason="no model")
        until(lambda: wire.state() == NOT_SERVING and wire.state(SERVICE) == NOT_SERVING)
        service.state = replace(service.state, ready=True)
        until(lambda: wire.state() == SERVING)
        with pytest.raises(grpc.RpcError) as caught:
            wire.state("nobody")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_and_describes(door: Door) -> None:
    """A reflection client finds the service and its types with no proto file at hand, as grpcurl does."""
    with Wire(door) as wire:
        database = ProtoReflectionDescriptorDatabase(wire.channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        service = DescriptorPool(database).FindServiceByName(SERVICE)
        assert [method.name for method in service.methods] == [
            "HealthCheck", "GetAvailableModels", "DiagnoseDicom", "DiagnoseDicomStream", "DiagnoseBatch",
            "DiagnoseBatchStream",
        ]  # fmt: skip
        assert service.methods[2].output_type.fields_by_name["decision"].enum_type.name == "Decision"


def test_draining(door: Door) -> None:
    """Readiness goes first; newcomers get a typed UNAVAILABLE; who was admitted is answered."""
    gate = threading.Event()
    door.service.script = lambda request: (gate.wait(30), make_answer(request))[1]
    with Wire(door) as wire:
        admitted = wire.method("DiagnoseDicom").future(
            pb.DiagnoseDicomRequest(content=b"image").SerializeToString(), timeout=30
        )
        until(lambda: len(door.service.requests) == 1)
        draining = asyncio.run_coroutine_threadsafe(door.server.drain(30), door.loop)
        until(lambda: wire.state() == NOT_SERVING)
        assert not pb.HealthCheckResponse.FromString(wire.method("HealthCheck")(b"")).ready
        call, reason, _ = wire.failure(content=b"image")
        assert (call.code(), reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert not draining.done()
        gate.set()
        assert pb.Diagnosis.FromString(admitted.result()).rule == 8
        assert draining.result(30) is True


def test_grace_runs_out(door: Door) -> None:
    """Work that does not end within the grace time does not keep the server; the drain says so."""
    gate = threading.Event()
    door.service.script = lambda request: (gate.wait(30), make_answer(request))[1]
    with Wire(door) as wire:
        held = wire.method("DiagnoseDicom").future(
            pb.DiagnoseDicomRequest(content=b"image").SerializeToString(), timeout=30
        )
        until(lambda: len(door.service.requests) == 1)
        assert door.call(door.server.drain(0.05)) is False
        assert held.exception(30) is not None
        gate.set()


def test_the_server_itself_refuses(tmp_path: Path) -> None:
    """No way around: the server object checks the address, not only the command."""
    with pytest.raises(UnsafeSettingsError):
        DiagnosticServer(ScriptedService(), GrpcServerConfig(host="0.0.0.0", port=0), Uploads(tmp_path))


def test_port_in_use(door: Door) -> None:
    """A second server on the port is one typed error, not a shared port."""
    taken = door.server.port
    second = door.call(_make(GrpcServerConfig(port=taken), door.uploads))
    with pytest.raises(AddressInUseError, match=f"port {taken} on 127.0.0.1 is in use"):
        door.call(second.start())


async def _make(config: GrpcServerConfig, uploads: Uploads) -> DiagnosticServer:
    return DiagnosticServer(ScriptedService(), config, uploads)
