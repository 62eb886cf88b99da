"""What `benchmarks.doors` compares: the engine alone, and each door of a server, asked by so many clients at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from benchmarks.asking import GRPC_DOORS, HTTP_DOORS, BatchStream, Client, patient
from benchmarks.beside import newcomer
from benchmarks.served import Watched, environment, serving
from benchmarks.wire import CountingForwarder
from irmsia.findings.types import Diagnosis
from irmsia.wire.json import diagnosis_from_json
from irmsia.wire.proto import diagnosis_from_bytes

INSIDE = "in-process"
BASE64 = "REST base64 JSON"


@dataclass(frozen=True)
class Asked:
    """What came of one run: seconds of each request, how often an image was turned away first, the last answer."""

    seconds: list[float]
    refused: int
    answer: Diagnosis


class Station(Protocol):
    """One thing to ask, and the process that works."""

    name: str
    server: Watched

    def ask(self, file: Path, clients: int, each: int) -> Asked:
        """So many clients at once, each so many images one after the other."""
        ...

    def wire_bytes(self, file: Path) -> int | None:
        """Bytes on the wire of one request and its answer on a connection that is open; null where there is none."""
        ...


class Inside:
    """The engine in a process of its own."""

    name = INSIDE

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.server = Watched(process.pid)
        self._in: IO[str] | None = process.stdin
        self._out: IO[str] | None = process.stdout

    def ask(self, file: Path, clients: int, each: int) -> Asked:
        """Told by one line, answered by one line."""
        assert self._in is not None and self._out is not None
        self._in.write(json.dumps({"file": str(file), "clients": clients, "each": each}) + "\n")
        self._in.flush()
        told: dict[str, Any] = json.loads(self._out.readline())
        return Asked(told["seconds"], 0, diagnosis_from_json(told["answer"]))

    def wire_bytes(self, file: Path) -> None:
        """There is no wire."""


class Remote:
    """One door; clients are made when they are first needed and keep their connections."""

    def __init__(
        self, name: str, server: Watched, address: tuple[str, int], make: Callable[[tuple[str, int]], Client]
    ) -> None:
        self.name = name
        self.server = server
        self._address = address
        self._make = make
        self._clients: list[Client] = []

    def ask(self, file: Path, clients: int, each: int) -> Asked:
        """A thread and a connection a client."""
        data = file.read_bytes()
        while len(self._clients) < clients:
            self._clients.append(self._make(self._address))
        with ThreadPoolExecutor(clients) as threads:
            found = list(threads.map(lambda client: _ask(client, data, each), self._clients[:clients]))
        return Asked([s for one in found for s in one.seconds], sum(one.refused for one in found), found[-1].answer)

    def wire_bytes(self, file: Path) -> int:
        """The second request of a connection, counted by a forwarder."""
        data = file.read_bytes()
        with CountingForwarder(self._address) as between:
            client = self._make(between.address)
            client.ask(data)
            before = _settled(between)
            client.ask(data)
            counted = _settled(between) - before
            client.close()
        return counted

    def close(self) -> None:
        """Hang up every client."""
        for client in self._clients:
            client.close()


def _settled(between: CountingForwarder, quiet_s: float = 0.2) -> int:
    """The count once nothing has moved for a while: acknowledgements follow an answer."""
    while True:
        count = between.bytes
        time.sleep(quiet_s)
        if between.bytes == count:
            return count


def _ask(client: Client, data: bytes, each: int) -> Asked:
    if isinstance(client, BatchStream):
        return _ask_batch(client, [data] * each)
    seconds, refused = [], 0
    for _ in range(each):
        began = time.monotonic()
        answer, turned_away = patient(client, data)
        seconds.append(time.monotonic() - began)
        refused += turned_away
    return Asked(seconds, refused, answer)


def _ask_batch(client: BatchStream, images: list[bytes]) -> Asked:
    """One call; an item that the server turned away counts as refused and has no time."""
    replies = [(seconds, diagnosis_from_bytes(data)) for seconds, data in client.ask_all(images)]
    answered = [(seconds, answer) for seconds, answer in replies if answer.error is None]
    refused = sum(answer.error is not None and answer.error.code == "OVERLOADED" for _, answer in replies)
    if len(answered) + refused != len(images) or not answered:
        raise SystemExit("a batch was not answered")
    return Asked([seconds for seconds, _ in answered], refused, answered[-1][1])


@contextmanager
def open_stations(home: Path, names: list[str], **settings: object) -> Iterator[list[Station]]:
    """Those of ``names`` that there are, each with its process up, all with one home: one model, one key."""
    with ExitStack() as stack:
        stations: list[Station] = []
        if INSIDE in names:
            stations.append(Inside(stack.enter_context(_inside(home, settings))))
        served = stack.enter_context(serving(home, **settings))
        host, port = served.target.rsplit(":", 1)
        for name, make in GRPC_DOORS.items():
            door = Remote(name, served, (host, int(port)), lambda at, make=make: make(f"{at[0]}:{at[1]}"))
            stations += [door] if name in names else []
            stack.callback(door.close)
        for name, make_http in HTTP_DOORS.items():
            if name not in names:
                continue
            if name == BASE64:
                server, address = stack.enter_context(newcomer(home, **settings))
            else:
                server, address = served, served.http
            http = Remote(name, server, address, make_http)
            stack.callback(http.close)
            stations.append(http)
        yield stations


@contextmanager
def _inside(home: Path, settings: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    command, pipe = [sys.executable, "-m", "benchmarks.inside"], subprocess.PIPE
    process = subprocess.Popen(command, env=environment(home, settings), stdin=pipe, stdout=pipe, text=True)
    try:
        assert process.stdout is not None and process.stdin is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the engine did not start")
        yield process
        process.stdin.close()
        process.wait(60)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
