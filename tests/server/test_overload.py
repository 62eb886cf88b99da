from __future__ import annotations

import hashlib
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.server.admission import AdmissionLimits
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.wire import SERVICE
from tests.server.scripted import ScriptedService, make_answer, open_door
from tests.server.test_grpc import reason_of, until
from tests.server.test_process import Program

OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
IMAGE_BYTES = 8000
Ask = Callable[[grpc.Channel, bytes], list[str]]


def digest_of(answer: pb.Diagnosis) -> str:
    """What the answer says that it is of."""
    return str(answer.evidence.input_sha256)


def ask_stream(channel: grpc.Channel, image: bytes) -> list[str]:
    """An image in two chunks; the digest of what was answered."""
    half = len(image) // 2
    messages = [
        pb.DiagnoseStreamRequest(open=pb.UploadOpen(size=len(image))),
        pb.DiagnoseStreamRequest(chunk=pb.UploadChunk(offset=0, data=image[:half])),
        pb.DiagnoseStreamRequest(chunk=pb.UploadChunk(offset=half, data=image[half:], last=True)),
    ]
    call = channel.stream_stream(
        f"/{SERVICE}/DiagnoseDicomStream",
        request_serializer=pb.DiagnoseStreamRequest.SerializeToString,
        response_deserializer=pb.DiagnoseStreamResponse.FromString,
    )(iter(messages), timeout=120)
    return [digest_of(message.diagnosis) for message in call if message.HasField("diagnosis")]


def make_items(image: bytes) -> list[pb.DiagnoseDicomRequest]:
    """Three images of one batch."""
    return [pb.DiagnoseDicomRequest(content=image + bytes([number])) for number in range(3)]


def ask_batch_stream(channel: grpc.Channel, image: bytes) -> list[str]:
    """Three images in one call; the digests in their order."""
    messages = [pb.DiagnoseBatchStreamRequest(id=f"{i}", item=item) for i, item in enumerate(make_items(image))]
    call = channel.stream_stream(
        f"/{SERVICE}/DiagnoseBatchStream",
        request_serializer=pb.DiagnoseBatchStreamRequest.SerializeToString,
        response_deserializer=pb.DiagnoseBatchStreamResponse.FromString,
    )(iter(messages), timeout=120)
    answers = {one.answer.id: digest_of(one.answer.diagnosis) for one in call if one.HasField("answer")}
    return [answers[message.id] for message in messages]


def ask_batch(channel: grpc.Channel, image: bytes) -> list[str]:
    """Three images in one message; the digests in their order."""
    call = channel.unary_unary(
        f"/{SERVICE}/DiagnoseBatch",
        request_serializer=pb.DiagnoseBatchRequest.SerializeToString,
        response_deserializer=pb.DiagnoseBatchResponse.FromString,
    )
    return [digest_of(answer) for answer in call(pb.DiagnoseBatchRequest(items=make_items(image)), timeout=120).answers]


def expected(ask: Ask, image: bytes) -> list[str]:
    """The digests that are right."""
    images = [image] if ask is ask_stream else [item.content for item in make_items(image)]
    return [hashlib.sha256(one).hexdigest() for one in images]


ASKING = pytest.mark.parametrize(
    "ask", [ask_stream, ask_batch_stream, ask_batch], ids=["stream", "batch stream", "batch"]
)


@ASKING
def test_many_calls_at_once(ask: Ask) -> None:
    """L1: of a burst each call is answered right or told to come back later; none ends in gRPC's own opaque words."""
    gate = threading.Event()
    ends = Counter[str]()
    service = ScriptedService(lambda request: (gate.wait(60), make_answer(request))[1])

    def one(channel: grpc.Channel, number: int) -> None:
        image = number.to_bytes(4, "big") * (IMAGE_BYTES // 4)
        try:
            assert ask(channel, image) == expected(ask, image)
            ends["answered"] += 1
        except grpc.RpcError as error:
            reason, details = reason_of(error)
            assert "google.rpc.RetryInfo" in details, error
            ends[f"{error.code().name} {reason}"] += 1

    config = GrpcServerConfig(port=0, admission=AdmissionLimits(calls=20))
    with ExitStack() as stack:
        door = stack.enter_context(open_door(service, config))
        channels = [stack.enter_context(grpc.insecure_channel(door.target, options=OPTIONS)) for _ in range(4)]
        threads = stack.enter_context(ThreadPoolExecutor(150))
        calls = [threads.submit(one, channels[number % 4], number) for number in range(500)]
        until(lambda: ends["RESOURCE_EXHAUSTED OVERLOADED"] >= 100, 120)
        gate.set()
        for call in calls:
            call.result(120)
        until(lambda: door.server._admission.calls == 0)
        assert door.server._admission.held_bytes == 0
    assert sum(ends.values()) == 500
    assert set(ends) == {"answered", "RESOURCE_EXHAUSTED OVERLOADED"}
    assert ends["answered"] >= 20


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Server processes that end with the test."""
    program = Program(tmp_path)
    yield program
    program.close()


@ASKING
def test_a_signal_under_load(program: Program, ask: Ask) -> None:
    """F6: while clients never pause, each call is answered whole or told in our words that the server is gone."""
    process, target = program.ready()
    answered: list[bool] = []
    ends: list[tuple[str, str]] = []

    def never_pause() -> None:
        image = bytes(IMAGE_BYTES)
        with grpc.insecure_channel(target, options=OPTIONS) as channel:
            while True:
                try:
                    answered.append(ask(channel, image) == expected(ask, image))
                except grpc.RpcError as error:
                    ends.append((error.code().name, reason_of(error)[0]))
                    return

    clients = [threading.Thread(target=never_pause) for _ in range(8)]
    for client in clients:
        client.start()
    until(lambda: len(answered) > 50, 120)
    process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(60)
    assert process.wait(30) == 0
    assert set(answered) == {True}
    assert len(ends) == 8
    # The second is gRPC's own: the port is shut, nobody took the call.
    assert set(ends) <= {("UNAVAILABLE", "UNAVAILABLE"), ("UNAVAILABLE", "")}
    assert process.stdout is not None
    assert process.stdout.read().split() == ["admitted", str(len(answered) * len(expected(ask, b"")))]
