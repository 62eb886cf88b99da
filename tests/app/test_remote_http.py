"""The HTTP door asked by the standard library: a scripted server on loopback, read by the standard library's parser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from irmsia.app.remote_http import ask_over_http
from irmsia.errors import (
    InternalError,
    IrmsiaError,
    NotFoundError,
    NotReadableError,
    OverloadedError,
    TimedOutError,
    TruncatedError,
    UnavailableError,
)
from irmsia.findings.types import Decision, Diagnosis
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.wire.json import diagnosis_to_json

ANSWER = Diagnosis(decision=Decision.REFUSE, rule=2)
HOST = "127.0.0.1"


class _Scripted(HTTPServer):
    """Gives one reply to every form, and keeps what it was sent by field."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        super().__init__((HOST, 0), _Handler)
        self.reply = (status, body, headers)
        self.fields: dict[str, bytes] = {}
        self.path = ""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # the name that http.server calls
        server = self.server
        assert isinstance(server, _Scripted)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = message_from_bytes(
            f"Content-Type: {self.headers['Content-Type']}\n\n".encode() + body, policy=policy.HTTP
        )
        server.path = self.path
        for part in form.iter_parts():
            content: Any = part.get_payload(decode=True)
            server.fields[str(part.get_param("name", header="content-disposition"))] = content
        status, reply, headers = server.reply
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:  # the name that http.server gives it
        """Say nothing."""


@contextmanager
def _serving(status: int, data: Any, headers: dict[str, str] | None = None) -> Iterator[_Scripted]:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    with _Scripted(status, body, headers or {}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_the_form_holds_the_image_and_what_is_asked() -> None:
    """Bytes arrive as they are, line ends and dashes among them; the name of the file does not leave."""
    data = b"\r\n--x\r\n\0\xff" * 100
    with _serving(200, diagnosis_to_json(ANSWER)) as server:
        request = DiagnoseRequest("doe^jane.dcm", data, heatmap=True, term="pneumonia", model="starter")
        assert ask_over_http(HOST, server.server_port, request) == ANSWER
    assert server.path == "/api/v1/dicom/diagnose"
    assert server.fields == {
        "heatmap": b"true",
        "overlay": b"false",
        "term": b"pneumonia",
        "model": b"starter",
        "file": data,
    }


@pytest.mark.parametrize(
    ("status", "data", "error"),
    [
        (
            422,
            {"code": "TRUNCATED", "detail": "the file ends early", "status": 422},
            TruncatedError("the file ends early"),
        ),
        (429, {"code": "OVERLOADED", "detail": "full"}, OverloadedError("full", 7.0)),
        (502, b"<html>", InternalError("the HTTP door answered 502 without JSON")),
        (500, {"detail": "no code"}, InternalError("the HTTP door answered 500 without a code")),
        (200, {"decision": "PERHAPS"}, InternalError("the HTTP door's answer cannot be read")),
    ],
)
def test_a_problem_is_raised_as_its_own_leaf(status: int, data: Any, error: IrmsiaError) -> None:
    """The code decides, and a 429 says how long to wait; what is no problem of ours is INTERNAL."""
    with _serving(status, data, {"Retry-After": "7"}) as server, pytest.raises(type(error)) as caught:
        ask_over_http(HOST, server.server_port, DiagnoseRequest(None, b"x"))
    assert caught.value.message == error.message
    if isinstance(error, OverloadedError) and isinstance(caught.value, OverloadedError):
        assert caught.value.retry_after_s == error.retry_after_s


def test_nobody_there_and_too_late_are_told_apart() -> None:
    """UNAVAILABLE where nothing listens, TIMED_OUT where nothing is said in time."""
    import socket
    import time

    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimedOutError):
            ask_over_http(HOST, port, DiagnoseRequest(None, b"x", deadline=time.monotonic() + 0.1))
    with pytest.raises(UnavailableError):
        ask_over_http(HOST, port, DiagnoseRequest(None, b"x"))


def test_a_path_is_read_on_this_side(tmp_path: Path) -> None:
    """Its bytes are sent; one that is not there or no file fails with its own code before anything is sent."""
    file = tmp_path / "image.dcm"
    file.write_bytes(b"image")
    with _serving(200, diagnosis_to_json(ANSWER)) as server:
        ask_over_http(HOST, server.server_port, DiagnoseRequest(None, file))
        assert server.fields["file"] == b"image"
        for path, error in ((tmp_path / "gone", NotFoundError), (tmp_path, NotReadableError)):
            with pytest.raises(error):
                ask_over_http(HOST, server.server_port, DiagnoseRequest(None, path))
