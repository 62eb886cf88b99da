from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from irmsia.server.run_file import RunningServer, find_running, run_folder
from tests.server.test_process import Program, until

DIAGNOSE, RELAYED = "/api/v1/dicom/diagnose", "/api/v1/ai-grpc/diagnose"
READY, LIVE = "/api/v1/health/ready", "/api/v1/health/live"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """Server processes with both doors that end with the test."""
    monkeypatch.setenv("HTTP", "1")
    program = Program(tmp_path)
    yield program
    program.close()


def _running(program: Program) -> RunningServer:
    running = find_running(program.home)
    assert running is not None
    assert running.http_url is not None
    return running


def test_a_signal_drains_both_doors(program: Program) -> None:
    """F6: readiness is 503 within the limit, what was admitted is answered, also over the own gRPC door, exit 0."""
    process, _ = program.ready()
    url = _running(program).http_url
    replies: list[httpx2.Response] = []
    with httpx2.Client(base_url=url or "", timeout=60, trust_env=False) as client:

        def ask(route: str) -> None:
            replies.append(httpx2.post(f"{url}{route}", files={"file": ("a", b"hold")}, timeout=60, trust_env=False))

        asking = [threading.Thread(target=ask, args=(route,)) for route in (DIAGNOSE, RELAYED, DIAGNOSE)]
        for one in asking:
            one.start()
        until(lambda: client.get(READY).json()["running"] == 3)
        process.send_signal(signal.SIGTERM)
        assert until(lambda: client.get(READY).status_code == 503) < 1.0  # ten times the campaign's limit
        assert client.get(READY).json()["reason"] == "the server is stopping"
        assert client.get(LIVE).status_code == 200
        until(lambda: find_running(program.home) is None)
        late = client.post(DIAGNOSE, files={"file": ("a", b"late")})
        assert (late.status_code, late.json()["code"]) == (503, "UNAVAILABLE")
        assert process.poll() is None
        program.release()
        for one in asking:
            one.join(60)
        assert [reply.status_code for reply in replies] == [200, 200, 200]
        assert process.wait(60) == 0  # although the client still holds its connection open
    assert list(run_folder(program.home).iterdir()) == []


def test_a_second_signal_hurries(program: Program) -> None:
    """Who presses Ctrl-C twice does not wait for admitted work."""
    process, _ = program.ready()
    url = _running(program).http_url
    ended = threading.Event()

    def ask() -> None:
        with contextlib.suppress(httpx2.TransportError):
            httpx2.post(f"{url}{DIAGNOSE}", files={"file": ("a", b"hold")}, timeout=60, trust_env=False)
        ended.set()

    threading.Thread(target=ask).start()
    with httpx2.Client(base_url=url or "", timeout=60, trust_env=False) as client:
        until(lambda: client.get(READY).json()["running"] == 1)
        process.send_signal(signal.SIGINT)
        until(lambda: client.get(READY).status_code == 503)
        process.send_signal(signal.SIGINT)
        assert ended.wait(60)
    program.release()
    assert process.wait(60) == 0


def test_a_batch_before_does_not_hold_the_server(program: Program) -> None:
    """The call that images of a batch share on the own gRPC door ends with them."""
    process, _ = program.ready()
    url = _running(program).http_url
    files = [("files", (str(number), b"image")) for number in range(3)]
    reply = httpx2.post(f"{url}/api/v1/ai-grpc/diagnose-batch", files=files, timeout=60, trust_env=False)
    assert [answer["rule"] for answer in reply.json()] == [8, 8, 8]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0  # far below the grace time of a minute
