from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from irmsia.errors import OverloadedError, iter_leaves
from irmsia.findings.types import Diagnosis, Evidence, Problem
from irmsia.inference.protocol import DiagnoseRequest, Priority
from irmsia.server.admission import AdmissionLimits
from irmsia.server.http.config import HttpServerConfig
from irmsia.wire.errors import http_status
from irmsia.wire.json import diagnosis_from_json
from tests.server.http.doors import BothDoors, open_both
from tests.server.scripted import MODEL_INFO, ScriptedService, make_answer

DIAGNOSE, UPLOAD = "/api/v1/dicom/diagnose", "/api/v1/dicom/upload"
RELAYED, BATCH = "/api/v1/ai-grpc/diagnose", "/api/v1/ai-grpc/diagnose-batch"
CANARY = "DOE^JANE /srv/secret/scan.dcm"


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothDoors]:
    """Both doors around a service that answers at once."""
    with open_both(tmp_path_factory.mktemp("home")) as doors:
        yield doors


def image(content: bytes = b"image", name: str = "a.dcm") -> dict[str, tuple[str, bytes]]:
    """A form's file."""
    return {"file": (name, content)}


def test_diagnose(doors: BothDoors) -> None:
    """An image goes in by a form, the service's very answer comes out, and every option reaches the service."""
    data = {"heatmap": "true", "term": "pneumonia", "model": "starter", "segmentation": "1", "all_findings": "yes"}
    reply = doors.client.post(DIAGNOSE, files=image(), data=data)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    asked = doors.service.requests[-1]
    assert diagnosis_from_json(reply.json()) == make_answer(asked)
    assert replace(asked, deadline=None) == DiagnoseRequest(
        "a.dcm", b"image", heatmap=True, overlay=True, term="pneumonia", segmentation=True, model="starter",
        all_findings=True, client="127.0.0.1",
    )  # fmt: skip


def test_options_left_out(doors: BothDoors) -> None:
    """What was not said is null or false; the picture may be left out of a heat-map."""
    assert doors.client.post(DIAGNOSE, files=image()).status_code == 200
    asked = doors.service.requests[-1]
    assert (asked.heatmap, asked.overlay, asked.term, asked.model) == (False, False, None, None)
    doors.client.post(DIAGNOSE, files=image(), data={"heatmap": "on", "overlay": "false"})
    asked = doors.service.requests[-1]
    assert (asked.heatmap, asked.overlay) == (True, False)


def test_upload_then_diagnose(doors: BothDoors) -> None:
    """201 with what contract section 4 names; the id then stands for the image, more than once."""
    content = bytes(range(256)) * 40_000
    reply = doors.client.post(UPLOAD, files=image(content))
    assert reply.status_code == 201
    kept = reply.json()
    assert (kept["sha256"], kept["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    left = (datetime.fromisoformat(kept["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 600 < left <= 901
    assert doors.client.get(reply.headers["location"]).json()["sha256"] == kept["sha256"]
    for form in ({"data": {"upload_id": kept["upload_id"]}}, {"files": {"upload_id": (None, kept["upload_id"])}}):
        answer = doors.client.post(DIAGNOSE, **form)
        assert answer.status_code == 200, answer.text
        assert answer.json()["evidence"]["input_sha256"] == kept["sha256"]
        assert isinstance(doors.service.requests[-1].source, Path)  # on disk, so memory stays flat


def test_the_same_answer_over_grpc(doors: BothDoors) -> None:
    """/ai-grpc/ gives the object that /dicom/ gives, with the name as given."""
    here = doors.client.post(DIAGNOSE, files=image(), data={"heatmap": "true"}).json()
    relayed = doors.client.post(RELAYED, files=image(), data={"heatmap": "true"})
    assert relayed.status_code == 200
    assert relayed.json() == here
    assert doors.service.requests[-1].source == b"image"


@pytest.mark.parametrize("route", [DIAGNOSE, RELAYED])
def test_an_image_without_a_name(doors: BothDoors, route: str) -> None:
    """Its ``input`` is null, never the place where it was kept."""
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + bytes(6_000_000) + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    reply = doors.client.post(route, content=form, headers=kind)
    assert (reply.status_code, reply.json()["input"]) == (200, None)


def test_nothing_is_left_of_a_form(doors: BothDoors) -> None:
    """What came with a request goes with it; only uploads are kept."""
    before = doors.client.get("/metrics").text
    doors.client.post(DIAGNOSE, files=image(bytes(6_000_000)))
    doors.client.post(BATCH, files=[("files", ("a", bytes(6_000_000)))])
    doors.client.post(DIAGNOSE, files={**image(), "unknown": (None, "x")})
    after = doors.client.get("/metrics").text
    kept = [[line for line in text.splitlines() if line.startswith("irmsia_upload")] for text in (before, after)]
    assert kept[0] == kept[1] != []


def test_batch(tmp_path: Path) -> None:
    """A list in the order given whatever ends first; one that fails is an answer with its error."""
    first = threading.Event()

    def script(request: DiagnoseRequest) -> Diagnosis:
        if request.source == b"0":
            assert first.wait(30)
        elif request.source == b"1":
            first.set()
        elif request.source == b"2":
            return Diagnosis(error=Problem("TRUNCATED", "the stream ends early"))
        return make_answer(request)

    with open_both(tmp_path, ScriptedService(script)) as doors:
        files = [("files", (f"{number}.dcm", str(number).encode())) for number in range(4)]
        reply = doors.client.post(BATCH, files=files)
        assert reply.status_code == 200
        assert [answer["input"] for answer in reply.json()] == [f"{number}.dcm" for number in range(4)]
        assert [(answer["error"] or {}).get("code") for answer in reply.json()] == [None, None, "TRUNCATED", None]
        grouped = doors.client.post(BATCH, files=files, data={"grouped": "true"}).json()
        assert len(grouped["answers"]) == 4
        assert grouped["summary"]["counts"] == {"total": 4, "accept": 3, "refer": 0, "refuse": 0, "failed": 1}


def test_a_batch_has_time_for_each_of_its_images(tmp_path: Path) -> None:
    """A batch that takes longer than one image may is answered whole, as over gRPC."""
    busy = threading.Event()
    service = ScriptedService(lambda request: (busy.wait(0.4), make_answer(request))[1])
    with open_both(tmp_path, service, http=HttpServerConfig(request_s=2, at_once=1)) as doors:
        files = [("files", (f"{number}.dcm", str(number).encode())) for number in range(8)]
        answers = doors.client.post(BATCH, files=files).json()
    assert [answer["error"] for answer in answers] == [None] * 8


def test_a_failed_image_is_its_status_with_all_that_is_known(tmp_path: Path) -> None:
    """The problem has the code, the table's status, and the answer as far as it goes."""
    known = Diagnosis(evidence=Evidence(input_sha256="0" * 64), error=Problem("TRUNCATED", "the stream ends early"))
    with open_both(tmp_path, ScriptedService(lambda request: known)) as doors:
        for route in (DIAGNOSE, RELAYED):
            reply = doors.client.post(route, files=image())
            assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
            problem = reply.json()
            assert (problem["code"], problem["status"], problem["detail"]) == (
                "TRUNCATED",
                422,
                "the stream ends early",
            )
            assert problem["diagnosis"]["evidence"]["input_sha256"] == "0" * 64


@pytest.mark.parametrize("leaf", iter_leaves(), ids=lambda leaf: leaf.code)
def test_every_leaf_has_its_status(tmp_path: Path, leaf: type[OverloadedError]) -> None:
    """Whatever the service raises arrives as the table says."""

    def raising() -> None:
        raise leaf("so it is")

    with open_both(tmp_path, ScriptedService(submitting=raising)) as doors:
        reply = doors.client.post(DIAGNOSE, files=image())
    assert (reply.status_code, reply.json()["code"]) == (http_status(leaf("")), leaf.code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in reply.headers) == (leaf is OverloadedError)


MALFORMED = {
    "no form": ({"content": b"image", "headers": {"content-type": "application/dicom"}}, 415, "UNSUPPORTED"),
    "no boundary": ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400, "INVALID_REQUEST"),
    "cut short": (
        {"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "INVALID_REQUEST",
    ),
    "no parts": (
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "INVALID_REQUEST",
    ),
    "no file": ({"files": {"heatmap": (None, "true")}}, 400, "INVALID_REQUEST"),
    "empty file": ({"files": image(b"")}, 415, "NOT_AN_IMAGE"),
    "unknown field": ({"files": image(), "data": {"colour": "red"}}, 400, "INVALID_REQUEST"),
    "no flag": ({"files": image(), "data": {"heatmap": "maybe"}}, 400, "INVALID_REQUEST"),
    "twice": ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]}, 413, "LIMIT_EXCEEDED"),
    "field twice": ({"files": [("model", (None, "a")), ("model", (None, "b"))]}, 400, "INVALID_REQUEST"),
    "long field": ({"files": {**image(), "model": (None, "m" * 5000)}}, 413, "LIMIT_EXCEEDED"),
    "both": ({"files": {**image(), "upload_id": (None, "x")}}, 400, "INVALID_REQUEST"),
    "unknown upload": ({"data": {"upload_id": "nothing"}}, 404, "NOT_FOUND"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_forms(doors: BothDoors, name: str) -> None:
    """Each is a problem with its code, and nothing reaches the service."""
    asked, status, code = MALFORMED[name]
    before = len(doors.service.requests)
    reply = doors.client.post(DIAGNOSE, **asked)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert len(doors.service.requests) == before


def test_bodies_have_a_limit(tmp_path: Path) -> None:
    """One that announces too much is refused at once, one that is too long without a word as well."""
    config = HttpServerConfig(body_bytes=10_000)
    with open_both(tmp_path, http=config) as doors:
        assert doors.client.post(DIAGNOSE, files=image(bytes(9000))).status_code == 200
        announced = doors.client.post(DIAGNOSE, files=image(bytes(11_000)))
        kind = {"content-type": "multipart/form-data; boundary=b"}
        begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        silent = doors.client.post(DIAGNOSE, content=iter([begin, bytes(6000), bytes(6000)]), headers=kind)
        files = [("files", (str(number), b"image")) for number in range(300)]
        too_many = doors.client.post(BATCH, files=files)
    for reply in (announced, silent, too_many):
        assert (reply.status_code, reply.json()["code"]) == (413, "LIMIT_EXCEEDED")


def test_uploads_expire(tmp_path: Path) -> None:
    """An upload that nobody touched for its time is 410, not 404."""
    with open_both(tmp_path) as doors:
        kept = doors.client.post(UPLOAD, files=image()).json()
        uploads = doors.doors.uploads
        clock = uploads._clock
        uploads._clock = lambda: clock() + 901
        gone = doors.client.post(DIAGNOSE, data={"upload_id": kept["upload_id"]})
        assert (gone.status_code, gone.json()["code"]) == (410, "UPLOAD_EXPIRED")
        never = doors.client.get(f"{UPLOAD}/never")
        assert (never.status_code, never.json()["code"]) == (404, "NOT_FOUND")


def test_nothing_there_and_another_method(doors: BothDoors) -> None:
    """404 and 405 are problems too."""
    missing, wrong = doors.client.get("/nothing"), doors.client.put(DIAGNOSE)
    assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")
    assert (wrong.status_code, wrong.json()["status"], wrong.headers["allow"]) == (405, 405, "POST")
    assert {reply.headers["content-type"] for reply in (missing, wrong)} == {"application/problem+json"}


def test_overload(tmp_path: Path) -> None:
    """One more than may be inside is 429 with Retry-After before its body is read; who is inside is answered."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_both(tmp_path, service, limits=AdmissionLimits(calls=2)) as doors:
        inside = [
            threading.Thread(target=lambda: seen.append(doors.client.post(DIAGNOSE, files=image()))) for _ in "ab"
        ]
        seen: list[object] = []
        for one in inside:
            one.start()
        while len(service.requests) < 2:
            threading.Event().wait(0.005)
        refused = doors.client.post(DIAGNOSE, files=image())
        assert (refused.status_code, refused.json()["code"]) == (429, "OVERLOADED")
        assert int(refused.headers["retry-after"]) >= 1
        assert doors.client.get("/api/v1/health/live").status_code == 200
        gate.set()
        for one in inside:
            one.join(30)
        assert [reply.status_code for reply in seen] == [200, 200]  # type: ignore[attr-defined]


def test_a_deadline_is_504(tmp_path: Path) -> None:
    """The server's own limit holds, and the work is dropped."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_both(tmp_path, service, http=HttpServerConfig(request_s=0.3)) as doors:
        reply = doors.client.post(DIAGNOSE, files=image())
        gate.set()
    assert (reply.status_code, reply.json()["code"]) == (504, "TIMED_OUT")


def test_a_caller_who_goes_away_leaves_nothing(tmp_path: Path) -> None:
    """The work that has not begun is dropped, the place is given back."""
    gate = threading.Event()
    service = ScriptedService(lambda request: (gate.wait(30), make_answer(request))[1])
    with open_both(tmp_path, service) as doors:
        body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nimage\r\n--b--\r\n'
        head = f"POST {DIAGNOSE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        asked = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        callers = [doors.raw() for _ in range(5)]
        for caller in callers:
            caller.sendall(asked)
        while len(service.requests) < 5:
            threading.Event().wait(0.005)
        for caller in callers:
            caller.close()
        while "irmsia_requests_in_flight 0.0" not in doors.client.get("/metrics").text:
            threading.Event().wait(0.01)
        assert service.futures[-1].cancelled()
        gate.set()


def test_a_bug_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL tells no text of the exception, neither does the log; the log says where."""

    def bug() -> None:
        raise ValueError(CANARY)

    with open_both(tmp_path, ScriptedService(submitting=bug)) as doors:
        reply = doors.client.post(DIAGNOSE, files=image(name=CANARY))
    assert (reply.status_code, reply.json()["code"]) == (500, "INTERNAL")
    assert "DOE" not in reply.text + caplog.text
    assert "scan.dcm" not in reply.text + caplog.text


def test_models_and_health(doors: BothDoors) -> None:
    """The models with the fields of the wire; live and ready."""
    models = doors.client.get("/api/v1/models").json()
    assert [(model["id"], model["active"]) for model in models] == [(MODEL_INFO.id, True)]
    assert doors.client.get("/api/v1/health/live").json() == {"live": True}
    ready = doors.client.get("/api/v1/health/ready")
    assert (ready.status_code, ready.json()["model"]["name"]) == (200, "starter")


def test_not_ready_is_503(tmp_path: Path) -> None:
    """Not ready says why; the process is alive all the same."""
    service = ScriptedService()
    service.state = replace(service.state, ready=False, reason="no model is ready yet")
    with open_both(tmp_path, service) as doors:
        ready = doors.client.get("/api/v1/health/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "no model is ready yet")
        assert doors.client.get("/api/v1/health/live").status_code == 200


def test_a_batch_has_the_lower_priority(doors: BothDoors) -> None:
    """Images of a batch let single ones pass, on either side of the gRPC channel."""
    for route in (DIAGNOSE, RELAYED):
        assert doors.client.post(route, files=image()).status_code == 200
        assert doors.service.requests[-1].priority is Priority.SINGLE
    assert doors.client.post(BATCH, files=[("files", ("a", b"image"))]).status_code == 200
    assert doors.service.requests[-1].priority is Priority.BATCH
