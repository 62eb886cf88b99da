"""How often and how much at once each host is asked; who waits can be called off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from irmsia.errors import CancelledError


@dataclass(slots=True)
class _Host:
    places: threading.BoundedSemaphore
    gap_s: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_at: float = 0.0


class Hosts:
    """A queue for each host. Safe between threads.

    Args:
        connections: requests at once to one host, until their answers have been read.
        rate: requests a second to one host.
    """

    def __init__(self, *, connections: int, rate: float) -> None:
        self._connections = connections
        self._gap_s = 1.0 / rate
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Let everybody who waits, now or later, raise `CancelledError`."""
        self._cancelled.set()

    def check(self) -> None:
        """Raises CancelledError after `cancel`."""
        if self._cancelled.is_set():
            raise CancelledError("the download was interrupted")

    def pause(self, seconds: float) -> None:
        """Sleep, unless cancelled."""
        self._cancelled.wait(seconds)
        self.check()

    def allow(self, host: str, rate: float) -> None:
        """Ask ``host`` so many times a second: a store that is made for many requests."""
        self._host(host).gap_s = 1.0 / rate

    def hold_off(self, host: str, seconds: float) -> None:
        """Let nobody ask ``host`` for so many seconds: it said that it is asked too much."""
        entry = self._host(host)
        with entry.lock:
            entry.next_at = max(entry.next_at, time.monotonic() + seconds)

    @contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Wait for a place and for the time; keep the place within.

        Raises:
            CancelledError: after `cancel`.
        """
        entry = self._host(host)
        while not entry.places.acquire(timeout=0.2):
            self.check()
        try:
            self._wait(entry)
            yield
        finally:
            entry.places.release()

    def _wait(self, entry: _Host) -> None:
        while True:
            with entry.lock:
                now = time.monotonic()
                if entry.next_at <= now:
                    entry.next_at = now + entry.gap_s
                    break
                seconds = entry.next_at - now
            self.pause(seconds)
        self.check()

    def _host(self, host: str) -> _Host:
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = _Host(threading.BoundedSemaphore(self._connections), self._gap_s)
            return self._hosts[host]
