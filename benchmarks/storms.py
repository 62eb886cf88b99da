"""Storms from processes of their own, and a look at a server's health meanwhile: what the campaigns of load share."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from benchmarks.asking import CHANNEL_OPTIONS
from benchmarks.served import Served
from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.wire import SERVICE

READY_PATH = "/api/v1/health/ready"
_EVERY_S = 0.05


@dataclass(frozen=True)
class Outcome:
    """How the calls of one plan ended."""

    ends: dict[str, int]
    answered_ms: list[float]
    begun_s: float
    seconds: float
    each: list[tuple[float, str]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self.ends.values())

    @property
    def per_second(self) -> float:
        """Right answers a second."""
        return len(self.answered_ms) / max(self.seconds, 1e-3)


class Storm:
    """A storming process that waits for plans."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self, **plan: float) -> None:
        """Tell it what to do."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()

    def end(self) -> Outcome:
        """Wait for its last call."""
        assert self._process.stdout is not None
        return Outcome(**json.loads(self._process.stdout.readline()))

    def run(self, **plan: float) -> Outcome:
        """Both."""
        self.begin(**plan)
        return self.end()


@contextmanager
def storming(door: str, served: Served, file: Path, cores: set[int] | None = None) -> Iterator[Storm]:
    """A process that storms ``door``, grpc or http, from the processors given."""
    address = served.target if door == "grpc" else ":".join(map(str, served.http))
    command = [sys.executable, "-m", "benchmarks.storm", door, address, str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if cores:
            os.sched_setaffinity(process.pid, cores)
        assert process.stdout is not None and process.stdin is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the storm could not begin")
        yield Storm(process)
    finally:
        process.kill()
        process.communicate()


@dataclass
class HealthWatch:
    """Asks one health door again and again on a thread: how long it took, and when it said what."""

    ask: Callable[[], bool]
    milliseconds: list[float] = field(default_factory=list)
    failures: int = 0
    not_ready_at: float | None = None
    every_s: float = _EVERY_S
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            began = time.monotonic()
            try:
                ready = self.ask()
            except (OSError, http.client.HTTPException, grpc.RpcError):
                self.failures += 1
                ready = False
            self.milliseconds.append(1000 * (time.monotonic() - began))
            if not ready and self.not_ready_at is None:
                self.not_ready_at = time.monotonic()


def grpc_health(served: Served, timeout_s: float = 10.0) -> Callable[[], bool]:
    """``HealthCheck`` on a connection of its own."""
    channel = grpc.insecure_channel(served.target, options=CHANNEL_OPTIONS)
    call: Any = channel.unary_unary(f"/{SERVICE}/HealthCheck", response_deserializer=pb.HealthCheckResponse.FromString)
    return lambda: bool(call(b"", timeout=timeout_s).ready)


def http_health(served: Served, timeout_s: float = 10.0) -> Callable[[], bool]:
    """``GET /api/v1/health/ready``, each time by a new connection: what a load balancer does."""

    def ask() -> bool:
        connection = http.client.HTTPConnection(*served.http, timeout=timeout_s)
        try:
            connection.request("GET", READY_PATH)
            return connection.getresponse().status == http.client.OK
        finally:
            connection.close()

    return ask


HEALTH: dict[str, Callable[[Served], Callable[[], bool]]] = {"grpc": grpc_health, "http": http_health}
