from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import OverloadedError
from irmsia.findings.types import Diagnosis, Evidence, Problem
from irmsia.inference.protocol import DiagnoseRequest, Stage
from irmsia.server.admission import AdmissionLimits
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.uploads import MAX_CHUNK_BYTES
from irmsia.wire import SERVICE
from irmsia.wire.proto import diagnosis_from_message
from tests.server.scripted import Door, make_answer, open_door
from tests.server.test_grpc import Wire, reason_of, until

KIB = 1024
MIB = 1024 * KIB


class Upload:
    """One call of DiagnoseDicomStream, message by message."""

    def __init__(self, wire: Wire, timeout: float | None = 60, metadata: Any = None) -> None:
        self._out: Queue[pb.DiagnoseStreamRequest | None] = Queue()
        self.call = wire.channel.stream_stream(
            f"/{SERVICE}/DiagnoseDicomStream",
            request_serializer=pb.DiagnoseStreamRequest.SerializeToString,
            response_deserializer=pb.DiagnoseStreamResponse.FromString,
        )(iter(self._out.get, None), timeout=timeout, metadata=metadata)

    def open(self, upload_id: str | None = None, **fields: Any) -> pb.UploadAck:
        """Send ``open``, return the first acknowledgement."""
        self._out.put(pb.DiagnoseStreamRequest(open=pb.UploadOpen(upload_id=upload_id, **fields)))
        return next(self.call).ack

    def send(self, offset: int, data: bytes, *, last: bool = False) -> None:
        """Send one chunk."""
        self._out.put(pb.DiagnoseStreamRequest(chunk=pb.UploadChunk(offset=offset, data=data, last=last)))

    def end(self) -> None:
        """Say no more."""
        self._out.put(None)

    def await_ack(self, offset: int) -> None:
        """Read until ``offset`` is acknowledged."""
        while next(self.call).ack.received != offset:
            pass

    def rest(self) -> list[pb.DiagnoseStreamResponse]:
        """Everything that still comes."""
        self.end()
        return list(self.call)

    def failure(self) -> tuple[grpc.StatusCode, str]:
        """The status and the reason that the call ends with."""
        with pytest.raises(grpc.RpcError):
            list(self.call)
        self.end()
        return self.call.code(), reason_of(self.call)[0]


@pytest.fixture
def door() -> Iterator[Door]:
    """A served service."""
    with open_door() as door:
        yield door


def diagnosed(messages: list[pb.DiagnoseStreamResponse]) -> Diagnosis:
    """The answer, which must be the last message and the only one of its kind."""
    assert [message.WhichOneof("part") for message in messages].count("diagnosis") == 1
    return diagnosis_from_message(messages[-1].diagnosis)


def upload_files(door: Door) -> list[Path]:
    """Every file of an upload at the server."""
    return [path for path in Path(door.folder.name).rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [1, 100_000, 9 * MIB])
def test_an_image_in_chunks(door: Door, size: int) -> None:
    """Small or large, the answer is that of the whole file; every option arrives; nothing of it is left."""
    data = os.urandom(size)
    with Wire(door) as wire:
        upload = Upload(wire)
        options = pb.DiagnoseOptions(input="a.dcm", heatmap=True, term="pneumonia", model="starter", all_findings=True)
        ack = upload.open(size=size, sha256=hashlib.sha256(data).hexdigest(), options=options)
        assert (ack.received, len(ack.upload_id)) == (0, 32)
        for at in range(0, size, MIB):
            upload.send(at, data[at : at + MIB], last=at + MIB >= size)
        messages = upload.rest()
    request = door.service.requests[0]
    answer = diagnosed(messages)
    assert answer.evidence is not None and answer.evidence.input_sha256 == hashlib.sha256(data).hexdigest()
    assert answer.explanation is not None and answer.input == "a.dcm"
    assert (request.heatmap, request.overlay, request.term, request.model) == (True, False, "pneumonia", "starter")
    assert isinstance(request.source, Path) == (size > 4 * MIB)
    assert [message.ack.received for message in messages if message.WhichOneof("part") == "ack"][-1] == size
    until(lambda: len(door.uploads) == 0)
    assert (upload_files(door), door.uploads.held_bytes) == ([], 0)


def test_progress(door: Door) -> None:
    """RECEIVED, then what the service tells, then DONE; stage and percentage never fall, and a late word is dropped."""
    told = [(Stage.DECODING, 10.0), (Stage.PREPROCESSING, 40.0), (Stage.DECODING, 20.0), (Stage.INFERRING, 60.0)]

    def script(request: DiagnoseRequest) -> Diagnosis:
        assert request.progress is not None
        for stage, percent in told:
            request.progress(stage, percent)
        return make_answer(request)

    door.service.script = script
    with Wire(door) as wire:
        upload = Upload(wire)
        upload.open(size=4 * MIB)
        for at in range(4):
            upload.send(at * MIB, bytes(MIB), last=at == 3)
        messages = upload.rest()
    progress = [message.progress for message in messages if message.WhichOneof("part") == "progress"]
    stages, percents = [one.stage for one in progress], [one.percent for one in progress]
    assert stages == sorted(stages) and percents == sorted(percents)
    assert {(one.stage, one.percent) for one in progress} >= {(1, 12.5), (1, 25), (1, 37.5), (1, 50), (6, 100)}
    assert (pb.STAGE_INFERRING, 80.0) in {(one.stage, one.percent) for one in progress}


def test_a_service_that_tells_too_much(door: Door) -> None:
    """A flood of progress neither blocks the service nor fills the memory: the newest of each stage goes out."""

    def script(request: DiagnoseRequest) -> Diagnosis:
        assert request.progress is not None
        for step in range(20_000):
            request.progress(Stage.INFERRING, step / 200)
        return make_answer(request)

    door.service.script = script
    with Wire(door) as wire:
        upload = Upload(wire)
        upload.open()
        upload.send(0, b"image", last=True)
        messages = upload.rest()
    assert diagnosed(messages).rule == 8
    assert len(messages) < 5000


def test_twenty_cuts(door: Door) -> None:
    """Cut at random, resumed at the acknowledged offset: one digest, and nothing acknowledged is ever sent again."""
    data = os.urandom(6 * MIB)
    cuts = sorted(random.Random(1).sample(range(1, len(data)), 20))
    upload_id, sent = None, 0
    for cut in [*cuts, len(data)]:
        with Wire(door) as wire:
            upload = Upload(wire)
            ack = upload.open(upload_id)
            upload_id = ack.upload_id
            assert ack.received == sent
            while sent < cut:
                step = min(300_000, cut - sent)
                upload.send(sent, data[sent : sent + step], last=sent + step == len(data))
                sent += step
                upload.await_ack(sent)
            if cut == len(data):
                answer = diagnosed(upload.rest())
            else:
                upload.call.cancel()
    assert answer.evidence is not None and answer.evidence.input_sha256 == hashlib.sha256(data).hexdigest()
    assert len(door.service.requests) == 1


def test_a_cut_after_the_last_chunk(door: Door) -> None:
    """Who is cut while the image is worked on gets the answer at the next try without sending a byte."""
    gate = threading.Event()
    door.service.script = lambda request: (gate.wait(30), make_answer(request))[1]
    with Wire(door) as wire:
        upload = Upload(wire)
        upload_id = upload.open(size=5).upload_id
        upload.send(0, b"image", last=True)
        until(lambda: len(door.service.requests) == 1)
        upload.call.cancel()
        until(lambda: door.server._admission.calls == 0)
        gate.set()
        again = Upload(wire)
        assert again.open(upload_id).received == 5
        again.send(5, b"", last=True)
        assert diagnosed(again.rest()).rule == 8


def test_a_second_try_beside_the_first(door: Door) -> None:
    """The server may not know yet that a line was cut: the first try ends and takes nothing from the second."""
    gates = [threading.Event(), threading.Event()]
    turns = iter(gates)
    door.service.script = lambda request: (next(turns).wait(30), make_answer(request))[1]
    data = os.urandom(5 * MIB)
    with Wire(door) as wire:
        first, second = Upload(wire), Upload(wire)
        upload_id = first.open(size=len(data)).upload_id
        for at in range(0, len(data), MIB):
            first.send(at, data[at : at + MIB], last=at + MIB == len(data))
        until(lambda: len(door.service.requests) == 1)
        assert second.open(upload_id).received == len(data)
        second.send(len(data), b"", last=True)
        until(lambda: len(door.service.requests) == 2)
        gates[0].set()
        until(lambda: any(future.done() for future in door.service.futures))
        assert diagnosed(first.rest()).rule == 8
        gates[1].set()
        answer = diagnosed(second.rest())
    assert answer.evidence is not None and answer.evidence.input_sha256 == hashlib.sha256(data).hexdigest()
    until(lambda: len(door.uploads) == 0)
    assert upload_files(door) == []


def test_what_is_wrong_with_an_upload(door: Door) -> None:
    """Each misuse is one typed status, and the calls are over."""
    with Wire(door) as wire:
        unopened = Upload(wire)
        unopened.send(0, b"image")
        assert unopened.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        silent = Upload(wire)
        silent.end()
        assert silent.failure()[1] == "INVALID_REQUEST"
        stranger = Upload(wire)
        with pytest.raises(grpc.RpcError):
            stranger.open("nobody's")
        assert stranger.failure() == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        for chunk, fields, reason in [
            ((1, b"image", False), {}, "INVALID_REQUEST"),
            ((0, bytes(MAX_CHUNK_BYTES + 1), False), {}, "LIMIT_EXCEEDED"),
            ((0, b"image", True), {"size": 6}, "INVALID_REQUEST"),
            ((0, b"image", True), {"sha256": "0" * 64}, "INVALID_REQUEST"),
            ((0, b"", True), {}, "NOT_AN_IMAGE"),
        ]:
            upload = Upload(wire)
            upload.open(**fields)
            upload.send(chunk[0], chunk[1], last=chunk[2])
            assert upload.failure()[1] == reason
        halved = Upload(wire)
        halved.open()
        halved.send(0, b"im")
        halved.end()
        assert halved.failure()[1] == "INVALID_REQUEST"
        twice = Upload(wire)
        twice.open()
        with pytest.raises(grpc.RpcError):
            twice.open()
            list(twice.call)
        assert twice.failure()[1] == "INVALID_REQUEST"
        until(lambda: door.server._admission.calls == 0)


def test_a_failed_image_is_a_status(door: Door) -> None:
    """As in DiagnoseDicom, with what is known of it; its bytes are given up."""
    known = Diagnosis(evidence=Evidence(input_sha256="0" * 64), error=Problem("TRUNCATED", "the stream ends early"))
    door.service.script = lambda request: known
    with Wire(door) as wire:
        upload = Upload(wire)
        upload.open()
        upload.send(0, b"image", last=True)
        assert upload.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "TRUNCATED")
        assert "irmsia.v1.Diagnosis" in reason_of(upload.call)[1]
    until(lambda: len(door.uploads) == 0)


def test_overload_keeps_the_upload(door: Door) -> None:
    """Who is turned away by a full queue comes back with the id, and the bytes are there."""
    door.service.submitting = lambda: (_ for _ in ()).throw(OverloadedError("the queue is full", 2.5))
    with Wire(door) as wire:
        upload = Upload(wire)
        upload_id = upload.open().upload_id
        upload.send(0, b"image", last=True)
        assert upload.failure() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert "google.rpc.RetryInfo" in reason_of(upload.call)[1]
        door.service.submitting = lambda: None
        again = Upload(wire)
        assert again.open(upload_id).received == 5
        again.send(5, b"", last=True)
        assert diagnosed(again.rest()).rule == 8


def test_admission_comes_before_any_byte() -> None:
    """One more call than may be inside is OVERLOADED before its first message."""
    with open_door(config=GrpcServerConfig(port=0, admission=AdmissionLimits(calls=1))) as door, Wire(door) as wire:
        inside = Upload(wire)
        inside.open()
        assert Upload(wire).failure() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        inside.send(0, b"image", last=True)
        assert diagnosed(inside.rest()).rule == 8


def test_idle_streams_leave_room_for_others() -> None:
    """L2: calls that open a stream and say no more never take the last places: a single image is answered."""
    limits = AdmissionLimits(calls=4, streams=3)
    with open_door(config=GrpcServerConfig(port=0, admission=limits)) as door, Wire(door) as wire:
        idle = [Upload(wire) for _ in range(3)]
        for upload in idle:
            upload.open()
        assert Upload(wire).failure() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert wire.diagnose(content=b"image").rule == 8
        idle[0].send(0, b"image", last=True)
        assert diagnosed(idle[0].rest()).rule == 8
        until(lambda: door.server._admission.calls == 2)
        assert Upload(wire).open().received == 0


@pytest.mark.parametrize("paced", [False, True], ids=["silent", "byte by byte"])
def test_slow_senders(paced: bool) -> None:
    """L2: who sends nothing, or single bytes in a trickle, is turned away in time; the upload stays."""
    config = GrpcServerConfig(port=0, receive_s=0.5, least_bytes_s=1000)
    with open_door(config=config) as door, Wire(door) as wire:
        upload = Upload(wire)
        upload_id = upload.open().upload_id
        stop = threading.Event()

        def trickle() -> None:
            for at in range(10_000):
                if stop.wait(0.02):
                    return
                upload.send(at, b"x")

        sender = threading.Thread(target=trickle)
        began = time.monotonic()
        if paced:
            sender.start()
        assert upload.failure() == (grpc.StatusCode.DEADLINE_EXCEEDED, "TIMED_OUT")
        assert 0.4 < time.monotonic() - began < 10
        stop.set()
        if paced:
            sender.join()
        kept = Upload(wire).open(upload_id).received
        assert kept == 0 if not paced else kept > 0


def test_deadlines_hold(door: Door) -> None:
    """The caller's deadline reaches the service; without one the server's own begins after the last chunk."""
    with Wire(door) as wire:
        for timeout, limit in ((20, 20), (None, 60)):
            upload = Upload(wire, timeout=timeout)
            upload.open()
            upload.send(0, b"image", last=True)
            assert diagnosed(upload.rest()).rule == 8
            deadline = door.service.requests[-1].deadline
            assert deadline is not None
            assert limit - 15 < deadline - time.monotonic() <= limit


def test_cancelling_frees_the_work(door: Door) -> None:
    """A caller that goes away leaves nothing in the queue and no call inside."""
    gate = threading.Event()
    door.service.script = lambda request: (gate.wait(30), make_answer(request))[1]
    with Wire(door) as wire:
        uploads = [Upload(wire) for _ in range(5)]
        for upload in uploads:
            upload.open()
            upload.send(0, b"image", last=True)
        until(lambda: len(door.service.requests) == 5)
        for upload in uploads:
            upload.call.cancel()
        until(lambda: door.server._admission.calls == 0)
        until(door.service.futures[-1].cancelled)
        gate.set()
    assert door.server._admission.held_bytes == 0


def test_who_asks_has_a_name(door: Door) -> None:
    """Turns go by the name that a client gives itself, else by its connection."""
    for metadata in ((("irmsia-client", "ward 3"),), None):
        with Wire(door) as wire:
            upload = Upload(wire, metadata=metadata)
            upload.open()
            upload.send(0, b"image", last=True)
            upload.rest()
    named, unnamed = (request.client for request in door.service.requests)
    assert named == "ward 3"
    assert unnamed.startswith("ipv4:127.0.0.1:")


def test_an_unfinished_upload_expires() -> None:
    """What nobody goes on with is removed by itself, and its id says so; a sender that is there keeps it."""
    with open_door(config=GrpcServerConfig(port=0, upload_s=0.3)) as door, Wire(door) as wire:
        upload = Upload(wire)
        upload_id = upload.open().upload_id
        upload.send(0, bytes(4 * MIB))
        upload.send(4 * MIB, b"x")
        upload.await_ack(4 * MIB + 1)
        threading.Event().wait(0.6)
        assert (len(door.uploads), len(upload_files(door))) == (1, 1)
        upload.call.cancel()
        until(lambda: len(door.uploads) == 0)
        until(lambda: upload_files(door) == [])
        late = Upload(wire)
        with pytest.raises(grpc.RpcError):
            late.open(upload_id)
        assert late.failure() == (grpc.StatusCode.NOT_FOUND, "UPLOAD_EXPIRED")


def test_draining_finishes_streams(door: Door) -> None:
    """F6: an upload that was let in is taken to its answer, a new one is UNAVAILABLE."""
    with Wire(door) as wire:
        admitted = Upload(wire)
        admitted.open(size=10)
        admitted.send(0, b"image")
        draining = asyncio.run_coroutine_threadsafe(door.server.drain(30), door.loop)
        until(lambda: door.server._admission.closed)
        assert Upload(wire).failure() == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        admitted.send(5, b"image", last=True)
        assert diagnosed(admitted.rest()).rule == 8
        assert draining.result(30) is True


def test_an_endless_upload_does_not_keep_the_server() -> None:
    """F6: an upload that goes on while the server stops is ended in our words after half the grace."""
    pace = threading.Event()
    with open_door(config=GrpcServerConfig(port=0, grace_s=2.0)) as door, Wire(door) as wire:
        upload = Upload(wire)
        upload.open()
        draining = asyncio.run_coroutine_threadsafe(door.server.drain(30), door.loop)
        with pytest.raises(grpc.RpcError):
            for offset in itertools.count(0, 5):
                upload.send(offset, b"image")
                upload.await_ack(offset + 5)
                pace.wait(0.02)
        upload.end()
        assert (upload.call.code(), reason_of(upload.call)[0]) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert draining.result(30) is True


class Shut:
    """A peer that speaks bare HTTP/2 with a window of no bytes: it takes in what it must and nothing of any answer."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    def __init__(self, door: Door) -> None:
        self.socket = socket.create_connection((door.server.host, door.server.port))
        no_window = (0x4).to_bytes(2, "big") + (0).to_bytes(4, "big")
        self.socket.sendall(self.PREFACE + self._frame(0x4, 0, 0, no_window))

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        return head + payload

    def ask(self, stream: int, method: str, message: bytes) -> None:
        """One call with one message, then no more."""
        fields = {
            ":method": "POST", ":scheme": "http", ":path": f"/{SERVICE}/{method}", ":authority": "localhost",
            "te": "trailers", "content-type": "application/grpc",
        }  # fmt: skip
        # HPACK, literal without indexing, names and values in plain text of fewer than 127 bytes
        text = b"".join(
            b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields.items()
        )
        data = b"\0" + len(message).to_bytes(4, "big") + message
        self.socket.sendall(self._frame(0x1, 0x4, stream, text) + self._frame(0x0, 0x1, stream, data))

    def ended(self) -> bool:
        """Whether the server has hung up within the test's patience."""
        self.socket.settimeout(30)
        with self.socket:
            try:
                while self.socket.recv(65536):
                    pass
            except TimeoutError:
                return False
            except OSError:
                return True
            return True


@pytest.mark.parametrize("method", ["DiagnoseDicom", "DiagnoseDicomStream", "HealthCheck"])
def test_who_never_reads_is_hung_up_on(method: str) -> None:
    """L2: a peer that asks and takes nothing of the answer keeps no place and no memory; others are answered."""
    messages = {
        "DiagnoseDicom": pb.DiagnoseDicomRequest(content=b"image"),
        "DiagnoseDicomStream": pb.DiagnoseStreamRequest(open=pb.UploadOpen()),
        "HealthCheck": pb.HealthCheckRequest(),
    }
    with open_door(config=GrpcServerConfig(port=0, receive_s=0.5)) as door, Wire(door) as wire:
        shut = Shut(door)
        for stream in range(1, 20, 2):
            shut.ask(stream, method, messages[method].SerializeToString())
        assert wire.diagnose(content=b"image").rule == 8
        assert shut.ended()
        until(lambda: door.server._admission.calls == 0)
        assert wire.diagnose(content=b"image").rule == 8
