"""Counts what goes over a connection: a forwarder of bytes on loopback, so that every door is counted alike."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

_BUFFER = 1 << 16


class CountingForwarder:
    """Forwards connections to ``address``; ``bytes`` counts the payload of both directions, without TCP's headers."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect instead."""
        host, port = self._listener.getsockname()
        return host, port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed: the count is over
                return
            far = socket.create_connection(self._address)
            self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(_BUFFER):
                target.sendall(data)
                with self._lock:
                    self.bytes += len(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one side hung up
            return
