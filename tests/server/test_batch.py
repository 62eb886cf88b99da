from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from queue import Queue
from typing import Any

import grpc
import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import OverloadedError
from irmsia.findings.summary import summarise, summarise_numbered
from irmsia.findings.types import Diagnosis, Problem
from irmsia.inference.protocol import DiagnoseRequest, Priority
from irmsia.server.admission import AdmissionLimits
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.wire import SERVICE
from irmsia.wire.proto import diagnosis_from_message, summary_from_message
from tests.server.scripted import Door, ScriptedService, make_answer, open_door
from tests.server.test_grpc import CANARY, Wire, reason_of, until

KIB = 1024


@pytest.fixture
def door() -> Iterator[Door]:
    """A served service."""
    with open_door() as door:
        yield door


def make_item(content: bytes, **fields: Any) -> pb.DiagnoseDicomRequest:
    """One image."""
    return pb.DiagnoseDicomRequest(content=content, **fields)


def send_batch(wire: Wire, *items: pb.DiagnoseDicomRequest, timeout: float = 60) -> pb.DiagnoseBatchResponse:
    """One DiagnoseBatch."""
    data = wire.method("DiagnoseBatch")(pb.DiagnoseBatchRequest(items=items).SerializeToString(), timeout=timeout)
    return pb.DiagnoseBatchResponse.FromString(data)


class Batch:
    """One call of DiagnoseBatchStream, message by message."""

    def __init__(self, wire: Wire, timeout: float | None = 60) -> None:
        self._out: Queue[pb.DiagnoseBatchStreamRequest | None] = Queue()
        self.call = wire.channel.stream_stream(
            f"/{SERVICE}/DiagnoseBatchStream",
            request_serializer=pb.DiagnoseBatchStreamRequest.SerializeToString,
            response_deserializer=pb.DiagnoseBatchStreamResponse.FromString,
        )(iter(self._out.get, None), timeout=timeout)

    def send(self, name: str, content: bytes, **fields: Any) -> None:
        """Send one image."""
        self._out.put(pb.DiagnoseBatchStreamRequest(id=name, item=make_item(content, **fields)))

    def end(self) -> None:
        """Say no more."""
        self._out.put(None)

    def take(self) -> tuple[str, Diagnosis]:
        """The next answer and its id."""
        answer = next(self.call).answer
        return answer.id, diagnosis_from_message(answer.diagnosis)

    def rest(self) -> tuple[dict[str, Diagnosis], pb.BatchSummary]:
        """Every answer that still comes, and the summary, which must come last and once."""
        self.end()
        messages = list(self.call)
        assert [message.WhichOneof("part") for message in messages].count("summary") == 1
        answers = [message.answer for message in messages[:-1]]
        assert len({answer.id for answer in answers}) == len(answers)
        return {answer.id: diagnosis_from_message(answer.diagnosis) for answer in answers}, messages[-1].summary

    def failure(self) -> tuple[grpc.StatusCode, str]:
        """The status and the reason that the call ends with."""
        with pytest.raises(grpc.RpcError):
            list(self.call)
        self.end()
        return self.call.code(), reason_of(self.call)[0]


def picky(request: DiagnoseRequest) -> Diagnosis:
    """Fails what is bad in three ways."""
    if request.source == b"bad":
        return Diagnosis(input=request.input, error=Problem("TRUNCATED", "the stream ends early"))
    if request.source == b"bug":
        raise ValueError(CANARY)
    return make_answer(request)


def test_a_batch_in_one_message(door: Door) -> None:
    """Answers stand in the order of the items, each as alone; those that fail stand in their places; all summed up."""
    door.service.script = picky
    contents = [b"first", b"bad", b"", b"bug", b"fifth"]
    with Wire(door) as wire:
        response = send_batch(wire, *(make_item(content, input=f"{i}") for i, content in enumerate(contents)))
        alone = wire.diagnose(content=b"first", input="0")
    answers = [diagnosis_from_message(answer) for answer in response.answers]
    assert [answer.input for answer in answers] == ["0", "1", "2", "3", "4"]
    codes = [answer.error.code if answer.error else None for answer in answers]
    assert codes == [None, "TRUNCATED", "NOT_AN_IMAGE", "INTERNAL", None]
    assert CANARY not in str(response)
    assert answers[0] == alone
    assert summary_from_message(response.summary) == summarise(answers)
    assert {request.priority for request in door.service.requests[:-1]} == {Priority.BATCH}
    assert door.service.requests[-1].priority is Priority.SINGLE


def test_every_option_reaches_the_service(door: Door) -> None:
    """An item of a batch may ask all that a single image may."""
    fields = {
        "input": "a.png", "heatmap": True, "overlay": True, "term": "pneumonia", "model": "starter",
        "segmentation": True, "all_findings": True,
    }  # fmt: skip
    with Wire(door) as wire:
        send_batch(wire, make_item(b"image", **fields))
        batch = Batch(wire)
        batch.send("a", b"image", **fields)
        batch.rest()
    for request in door.service.requests:
        assert {name: getattr(request, name) for name in fields} == fields
        assert request.client


def test_an_empty_batch(door: Door) -> None:
    """No image is no error."""
    with Wire(door) as wire:
        assert send_batch(wire).summary.counts.total == 0
        answers, summary = Batch(wire).rest()
        assert (answers, summary.counts.total) == ({}, 0)


def test_a_batch_that_is_too_large() -> None:
    """More bytes or more images than a message may hold is LIMIT_EXCEEDED before anything is done."""
    config = GrpcServerConfig(port=0, image_bytes=64 * KIB, batch_items=3)
    with open_door(config=config) as door, Wire(door) as wire:
        for items in ([make_item(bytes(40 * KIB))] * 2, [make_item(b"image")] * 4):
            with pytest.raises(grpc.RpcError) as caught:
                send_batch(wire, *items)
            assert reason_of(caught.value)[0] == "LIMIT_EXCEEDED"
        assert door.service.requests == []
        assert len(send_batch(wire, *[make_item(bytes(20 * KIB))] * 3).answers) == 3
        stream = Batch(wire)
        for name in "abcd":
            stream.send(name, b"image")
        assert stream.failure()[1] == "LIMIT_EXCEEDED"


def test_an_image_that_is_too_large_for_a_message_fails_alone() -> None:
    """What DiagnoseDicom would not take is not taken in a batch stream either, and harms no other image."""
    with open_door(config=GrpcServerConfig(port=0, image_bytes=64 * KIB)) as door, Wire(door) as wire:
        batch = Batch(wire)
        for name, size in (("large", 64 * KIB + 1), ("fits", 64 * KIB)):
            batch.send(name, bytes(size))
        answers, _ = batch.rest()
        assert len(door.service.requests) == 1
    assert answers["large"].error is not None and answers["large"].error.code == "LIMIT_EXCEEDED"
    assert answers["fits"].rule == 8


def test_names_have_an_end(door: Door) -> None:
    """A name is kept as long as its call: none goes around the bounds on bytes, at any call."""
    name = "x" * 9000
    with Wire(door) as wire:
        single = wire.method("DiagnoseDicom").future(make_item(b"image", input=name).SerializeToString(), timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            single.result()
        assert reason_of(caught.value)[0] == "LIMIT_EXCEEDED"
        batch = Batch(wire)
        batch.send("a", b"image", input=name)
        assert batch.failure()[1] == "LIMIT_EXCEEDED"
        opened = pb.DiagnoseStreamRequest(open=pb.UploadOpen(options=pb.DiagnoseOptions(input=name)))
        stream = wire.channel.stream_stream(f"/{SERVICE}/DiagnoseDicomStream")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([opened.SerializeToString()]), timeout=30))
        assert reason_of(caught.value)[0] == "LIMIT_EXCEEDED"
    assert door.service.requests == []


def test_answers_come_as_they_are_ready(door: Door) -> None:
    """The second image is answered while the first is still worked on; the summary counts all, in their order."""
    gate = threading.Event()
    script = picky
    door.service.script = lambda request: (request.source == b"slow" and gate.wait(30), script(request))[1]
    with Wire(door) as wire:
        batch = Batch(wire)
        batch.send("one", b"slow", input="s")
        batch.send("two", b"quick")
        name, second = batch.take()
        assert (name, second.rule) == ("two", 8)
        for name, content in (("three", b"bad"), ("four", b""), ("five", b"bug")):
            batch.send(name, content)
            got, answer = batch.take()
            assert got == name and answer.error is not None
        gate.set()
        answers, summary = batch.rest()
    assert set(answers) == {"one"}
    assert (summary.counts.total, summary.counts.accept, summary.counts.failed) == (5, 2, 3)
    assert summary.studies[0].most_severe.index == 0


def test_the_summary_is_that_of_the_answers(door: Door) -> None:
    """Whatever the order in which they were ready, they are summed up in the order in which they were sent."""
    door.service.script = picky
    contents = {f"{i}": b"bad" if i % 7 == 3 else f"image {i}".encode() for i in range(60)}
    with Wire(door) as wire:
        batch = Batch(wire)
        for name, content in contents.items():
            batch.send(name, content)
        answers, summary = batch.rest()
    assert answers.keys() == contents.keys()
    numbered = ((int(name), answer) for name, answer in answers.items())
    assert summary_from_message(summary) == summarise_numbered(numbered)


@pytest.mark.parametrize("bound", [{"batch_places": 3}, {"image_bytes": 30_000}])
def test_a_batch_keeps_to_its_share(bound: dict[str, int]) -> None:
    """No more images of a call are in work than may be, by number and by bytes; the rest waits at the client."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_door(service, GrpcServerConfig(port=0, **bound)) as door, Wire(door) as wire:
        batch = Batch(wire)
        for i in range(40):
            batch.send(f"{i}", bytes(10_000))
        until(lambda: len(service.requests) == 3)
        assert door.server._admission.held_bytes == 30_000
        with pytest.raises(grpc.RpcError):  # a single image is let in beside it; the gate is shut for it, too
            wire.diagnose(timeout=0.3, content=b"image")
        assert sum(request.priority is Priority.BATCH for request in service.requests) == 3
        gate.set()
        answers, _ = batch.rest()
    assert len(answers) == 40


def test_a_full_queue_makes_a_batch_wait() -> None:
    """OVERLOADED is not an item's failure: the batch tries again, in one message and in a stream."""
    service = ScriptedService()
    times = Counter[str]()

    def submitting() -> None:
        times["tried"] += 1
        if times["tried"] % 3:
            raise OverloadedError("the queue is full", 0.01)

    service.submitting = submitting
    with open_door(service) as door, Wire(door) as wire:
        response = send_batch(wire, *[make_item(b"image")] * 5)
        assert [answer.HasField("error") for answer in response.answers] == [False] * 5
        batch = Batch(wire)
        for name in "abcde":
            batch.send(name, b"image")
        answers, _ = batch.rest()
    assert [answer.rule for answer in answers.values()] == [8] * 5
    assert times["tried"] == 30


def test_bytes_of_other_calls_make_a_batch_wait() -> None:
    """The bound on bytes that wait is shared by all calls; a batch waits for its turn below it."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    limits = AdmissionLimits(held_bytes=1000, retry_after_s=0.01)
    with open_door(service, GrpcServerConfig(port=0, admission=limits)) as door, Wire(door) as wire:
        single = wire.method("DiagnoseDicom").future(make_item(bytes(900)).SerializeToString(), timeout=60)
        until(lambda: len(service.requests) == 1)
        batch = Batch(wire)
        batch.send("a", bytes(200))
        batch.end()
        assert len(service.requests) == 1
        gate.set()
        assert pb.Diagnosis.FromString(single.result()).rule == 8
        assert batch.take()[0] == "a"


def test_ids(door: Door) -> None:
    """An id names one image a call: twice, or endless, is INVALID_REQUEST; a message that is none is, too."""
    with Wire(door) as wire:
        for names in (["a", "b", "a"], ["x" * 1000]):
            batch = Batch(wire)
            for name in names:
                batch.send(name, b"image")
            assert batch.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        raw = wire.channel.stream_stream(f"/{SERVICE}/DiagnoseBatchStream")(iter([b"\xff\xff"]), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            list(raw)
        assert reason_of(caught.value)[0] == "INVALID_REQUEST"


@pytest.mark.parametrize("kind", ["stream", "message"])
def test_cancelling_drops_the_work(door: Door, kind: str) -> None:
    """A caller that goes away leaves nothing behind in the queue."""
    gate = threading.Event()
    door.service.script = lambda request: (gate.wait(30), make_answer(request))[1]
    with Wire(door) as wire:
        if kind == "stream":
            batch = Batch(wire)
            for i in range(20):
                batch.send(f"{i}", b"image")
            call = batch.call
        else:
            data = pb.DiagnoseBatchRequest(items=[make_item(b"image")] * 20).SerializeToString()
            call = wire.method("DiagnoseBatch").future(data)
        until(lambda: len(door.service.requests) == 8)
        call.cancel()
        until(lambda: door.server._admission.calls == 0)
        assert sum(future.cancelled() for future in door.service.futures) == 4
        gate.set()
    assert len(door.service.requests) == 8
    assert door.server._admission.held_bytes == 0


def test_a_silent_batch_is_turned_away() -> None:
    """L2: who has no image in work must send one in time; work that takes longer than that is waited for."""
    service = ScriptedService()
    with open_door(service, GrpcServerConfig(port=0, receive_s=0.3)) as door, Wire(door) as wire:
        assert Batch(wire).failure() == (grpc.StatusCode.DEADLINE_EXCEEDED, "TIMED_OUT")
        service.script = lambda request: (threading.Event().wait(1.0), make_answer(request))[1]
        batch = Batch(wire)
        batch.send("a", b"image")
        began = time.monotonic()
        assert batch.take()[0] == "a"
        assert time.monotonic() - began > 0.9
        batch.send("b", b"image")
        assert set(batch.rest()[0]) == {"b"}


def test_draining_finishes_batches(door: Door) -> None:
    """F6: a batch that was let in is answered to its end, a new one is UNAVAILABLE."""
    with Wire(door) as wire:
        batch = Batch(wire)
        batch.send("a", b"image")
        assert batch.take()[0] == "a"
        draining = asyncio.run_coroutine_threadsafe(door.server.drain(30), door.loop)
        until(lambda: door.server._admission.closed)
        assert Batch(wire).failure() == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        batch.send("b", b"image")
        assert set(batch.rest()[0]) == {"b"}
        assert draining.result(30) is True


def test_an_endless_batch_does_not_keep_the_server() -> None:
    """A batch that goes on while the server stops is ended in our words after half the grace; what is in work comes."""
    with open_door(config=GrpcServerConfig(port=0, grace_s=2.0)) as door, Wire(door) as wire:
        batch = Batch(wire)
        batch.send("a", b"image")
        assert batch.take()[0] == "a"
        draining = asyncio.run_coroutine_threadsafe(door.server.drain(30), door.loop)
        assert batch.failure() == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert draining.result(30) is True
