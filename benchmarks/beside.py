"""Other processes that the doors are compared with: the newcomer's server, and a socket that does nothing but hash."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.served import Watched, environment, stop

_BUFFER = 1 << 20
_SIZE_BYTES = 8


@contextmanager
def newcomer(home: Path, **settings: object) -> Iterator[tuple[Watched, tuple[str, int]]]:
    """The newcomer's server with the same model and settings, and its address."""
    with _started("benchmarks.newcomer", home, settings) as (watched, port):
        yield watched, ("127.0.0.1", port)


@contextmanager
def raw_socket(home: Path) -> Iterator[tuple[Watched, tuple[str, int]]]:
    """A process that receives bytes and hashes them: the limit of any upload, and its address."""
    with _started("benchmarks.beside", home, {}) as (watched, port):
        yield watched, ("127.0.0.1", port)


def send_raw(connection: socket.socket, data: bytes) -> str:
    """Send one file to the raw socket; its digest comes back."""
    connection.sendall(len(data).to_bytes(_SIZE_BYTES, "big"))
    connection.sendall(data)
    return connection.recv(64, socket.MSG_WAITALL).decode("ascii")


@contextmanager
def _started(module: str, home: Path, settings: dict[str, object]) -> Iterator[tuple[Watched, int]]:
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, env=environment(home, settings), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Watched(process.pid), int(process.stdout.readline())
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


def _hash_for_ever() -> None:
    """One connection after another, one file after another: its size, its bytes; the digest goes back."""
    buffer = memoryview(bytearray(_BUFFER))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            with listener.accept()[0] as connection:
                while size := connection.recv(_SIZE_BYTES, socket.MSG_WAITALL):
                    connection.sendall(_digest(connection, int.from_bytes(size, "big"), buffer).encode("ascii"))


def _digest(connection: socket.socket, size: int, buffer: memoryview) -> str:
    digest = hashlib.sha256()
    while size:
        count = connection.recv_into(buffer, min(size, len(buffer)))
        digest.update(buffer[:count])
        size -= count
    return digest.hexdigest()


if __name__ == "__main__":
    _hash_for_ever()
