"""Who would be turned away after sending an image is turned away before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.app.remote_http import make_form
from irmsia.errors import OverloadedError
from irmsia.inference.protocol import Priority
from irmsia.inference.scheduler import Scheduler
from irmsia.server.admission import Admission, AdmissionLimits
from irmsia.wire import SERVICE
from tests.server.http.doors import BothDoors, open_both
from tests.server.scripted import ScriptedService
from tests.server.test_grpc import reason_of


class Crowded(ScriptedService):
    """A service that says whether it has room."""

    def __init__(self) -> None:
        super().__init__()
        self.room = False
        self.asked: list[tuple[str, int]] = []

    def has_room(self, client: str, ahead: int) -> bool:
        """As told."""
        self.asked.append((client, ahead))
        return self.room


@contextmanager
def crowded(home: Path) -> Iterator[BothDoors]:
    """Both doors of a service without room."""
    with open_both(home, Crowded()) as doors:
        yield doors


def exchange(doors: BothDoors, size: int) -> tuple[str, dict[str, str], bytes, bytes]:
    """POST an image of ``size`` bytes over a bare connection: status line, headers, body, what comes after it."""
    kind, body = make_form((), bytes(size))
    head = (
        f"POST /api/v1/dicom/diagnose HTTP/1.1\r\nHost: 127.0.0.1:{doors.port}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with doors.raw() as connection:
        connection.sendall(head.encode() + body)
        answer = connection.makefile("rb")
        status = answer.readline().decode()
        headers = dict(line.decode().rstrip("\r\n").lower().split(": ", 1) for line in iter(answer.readline, b"\r\n"))
        return status, headers, answer.read(int(headers["content-length"])), answer.read()


@pytest.mark.parametrize("size", [0, 100, 20_000_000])
def test_http_turns_away_before_the_body_and_the_answer_arrives(tmp_path: Path, size: int) -> None:
    """429 with Retry-After and every header, however much the peer still sends; nothing reaches the service."""
    with crowded(tmp_path) as doors:
        status, headers, body, rest = exchange(doors, size)
        assert status.startswith("HTTP/1.1 429")
        assert headers["retry-after"] == "1"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["connection"] == "close"
        assert json.loads(body)["code"] == "OVERLOADED"
        assert rest == b""
        assert doors.service.requests == []
        metrics = doors.client.get("/metrics").text
        assert 'irmsia_requests_total{call="diagnose",code="429",door="http"} 1.0' in metrics


def test_http_takes_the_image_when_there_is_room_again(tmp_path: Path) -> None:
    """Only a service without room turns away; other addresses are served all the while."""
    with crowded(tmp_path) as doors:
        assert doors.client.get("/api/v1/health/live").status_code == 200
        doors.service.room = True  # type: ignore[attr-defined]
        assert doors.client.post("/api/v1/dicom/diagnose", files={"file": b"image"}).status_code == 200
        assert doors.service.asked[-1] == ("127.0.0.1", 0)  # type: ignore[attr-defined]


def test_grpc_turns_away_before_the_message(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED with its reason and a time to retry; nothing reaches the service."""
    with crowded(tmp_path) as doors, grpc.insecure_channel(f"127.0.0.1:{doors.doors.grpc.port}") as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/DiagnoseDicom",
            request_serializer=pb.DiagnoseDicomRequest.SerializeToString,
            response_deserializer=pb.Diagnosis.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(pb.DiagnoseDicomRequest(content=bytes(1_000_000)), timeout=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(caught.value) == ("OVERLOADED", {"google.rpc.ErrorInfo", "google.rpc.RetryInfo"})
        assert doors.service.requests == []


def test_those_on_their_way_count(tmp_path: Path) -> None:
    """An image that is coming in takes a place before it is queued, and gives it back."""
    asked: list[int] = []

    def has_room(client: str, ahead: int) -> bool:
        asked.append(ahead)
        return ahead < 2

    admission = Admission(AdmissionLimits(), has_room=has_room)
    with admission.coming("a"), admission.coming("b"):
        assert admission.is_full("c")
        with pytest.raises(OverloadedError), admission.coming("c"):
            pass
    assert not admission.is_full("c")
    assert asked == [0, 1, 2, 2, 0]


def test_a_place_behind_others() -> None:
    """The scheduler has a place for a single image behind so many; those that are gone take none."""
    gone: set[str] = set()
    scheduler = Scheduler[str](8, gone.__contains__)
    for item in "abcdef":
        assert scheduler.add(item, Priority.SINGLE, item)
    assert scheduler.has_place(Priority.SINGLE, "new", ahead=1)
    assert not scheduler.has_place(Priority.SINGLE, "new", ahead=2)
    gone.add("a")
    assert scheduler.has_place(Priority.SINGLE, "new", ahead=2)
