from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from irmsia.client import DicomDiagnosticClient
from irmsia.client.calls import DiagnoseOptions
from irmsia.errors import UnavailableError
from irmsia.server.run_file import find_running, list_running, run_folder
from tests.interrupts import interrupts_reach_children

ROOT = Path(__file__).resolve().parents[2]
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Program:
    """`tests.server.program` in a process of its own, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.started: list[subprocess.Popen[str]] = []

    def start(self, port: int = 0, host: str = "127.0.0.1") -> subprocess.Popen[str]:
        """Start a server without waiting."""
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with interrupts_reach_children():
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.server.program", str(port)],
                env={**os.environ, "IRMSIA_HOME": str(self.home), "HOST": host, "PYTHONPATH": paths},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.started.append(process)
        return process

    def ready(self, port: int = 0) -> tuple[subprocess.Popen[str], str]:
        """Start a server and return its process and target when it takes requests."""
        process = self.start(port)
        assert process.stdout is not None
        word, _, target = process.stdout.readline().strip().partition(" ")
        assert word == "ready"
        return process, target

    def release(self) -> None:
        """Let the images named ``hold`` be answered."""
        (self.home / "release").touch()

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Server processes that end with the test."""
    program = Program(tmp_path)
    yield program
    program.close()


def until(condition: Callable[[], bool], seconds: float = 30) -> float:
    """Seconds until a condition came true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came true"
        time.sleep(0.005)  # between two looks, not for luck
    return time.monotonic() - began


def is_serving(target: str) -> bool:
    """What grpc.health.v1 says; a server that is gone serves nothing."""
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            return bool(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status != NOT_SERVING)
        except grpc.RpcError:
            return False


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(program: Program, kind: signal.Signals) -> None:
    """F6: readiness is false within the limit, every admitted request is answered, exit 0, no run file left."""
    process, target = program.ready()
    running = find_running(program.home)
    assert running is not None
    assert (running.pid, running.grpc_target) == (process.pid, target)
    with DicomDiagnosticClient(target) as client:
        admitted = [client.submit(b"hold", DiagnoseOptions()) for _ in range(3)]
        until(lambda: client.health_check().running == 3)
        process.send_signal(kind)
        assert until(lambda: not is_serving(target)) < 1.0  # ten times the campaign's limit
        until(lambda: find_running(program.home) is None)
        assert not client.health_check().ready
        with pytest.raises(UnavailableError, match="stopping"):
            client.diagnose_dicom(b"late")
        assert process.poll() is None
        program.release()
        assert [one.result(30).rule for one in admitted] == [8, 8, 8]
        assert process.wait(30) == 0
    assert list(run_folder(program.home).iterdir()) == []


def test_a_signal_under_load(program: Program) -> None:
    """F6: while clients never pause, each request is answered or told in our words that the server is gone."""
    process, target = program.ready()
    answered: list[int | None] = []
    unexpected: list[Exception] = []

    def ask() -> None:
        with DicomDiagnosticClient(target) as client:
            while True:
                try:
                    answered.append(client.diagnose_dicom(bytes(20_000)).rule)
                except UnavailableError:
                    return
                except Exception as error:  # noqa: BLE001 - any other end is what this test looks for
                    unexpected.append(error)
                    return

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    until(lambda: len(answered) > 100)
    process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(30)
    assert process.wait(30) == 0
    assert unexpected == []
    assert set(answered) == {8}
    assert process.stdout is not None
    assert process.stdout.read().split() == ["admitted", str(len(answered))]


def test_a_second_signal_hurries(program: Program) -> None:
    """Who presses Ctrl-C twice does not wait for admitted work."""
    process, target = program.ready()
    with DicomDiagnosticClient(target) as client:
        held = client.submit(b"hold")
        until(lambda: client.health_check().running == 1)
        process.send_signal(signal.SIGINT)
        until(lambda: not is_serving(target))
        process.send_signal(signal.SIGINT)
        assert held.exception(30) is not None
    program.release()  # the thread of the service itself must end, too
    assert process.wait(30) == 0


def test_killed_and_started_again(program: Program) -> None:
    """After kill -9 only a stale run file is left; it is not believed, and the next start on the port cleans it."""
    first, target = program.ready()
    port = int(target.rpartition(":")[2])
    first.kill()
    first.wait(30)
    assert [path.name for path in run_folder(program.home).iterdir()] == [f"{first.pid}.json"]
    assert list_running(program.home) == ()
    second, again = program.ready(port)
    assert again == target
    assert [path.name for path in run_folder(program.home).iterdir()] == [f"{second.pid}.json"]
    with DicomDiagnosticClient(again) as client:
        assert client.diagnose_dicom(b"image").rule == 8
    second.terminate()
    assert second.wait(30) == 0


def test_two_servers_are_both_listed(program: Program) -> None:
    """Two servers of one home each have their file; the one that became ready last is found."""
    first, _ = program.ready()
    second, _ = program.ready()
    assert [server.pid for server in list_running(program.home)] == [second.pid, first.pid]
    files = [json.loads(path.read_text()) for path in run_folder(program.home).iterdir()]
    assert all(file["http_port"] is None and file["grpc_port"] > 0 for file in files)


def test_port_in_use_is_one_line(program: Program) -> None:
    """A second server on the port ends at once with one clear line, and leaves the first alone."""
    _, target = program.ready()
    second = program.start(int(target.rpartition(":")[2]))
    _, said = second.communicate(timeout=30)
    assert second.returncode == 3
    assert said.splitlines() == [
        f"ADDRESS_IN_USE port {target.rpartition(':')[2]} on 127.0.0.1 is in use; "
        "stop what listens there or choose another port"
    ]
    assert is_serving(target)


def test_another_address_is_refused(program: Program) -> None:
    """A5: an address that is not loopback ends with 78 and one line why."""
    process = program.start(host="0.0.0.0")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 78
    assert len(said.splitlines()) == 1
    assert "loopback" in said
