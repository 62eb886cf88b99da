"""Line L3: ``python -m benchmarks.soak [--seconds 600] [--json FILE] [--quick]``. Linux.

32 clients stream radiographs of 21 MB to a server, again and again, for 10 minutes; then the same clients send them
unary for a minute, which is reported beside it. Every 2 s the kernel is asked what the server and its children hold
(proportional, so that shared pages count once) and how many descriptors are open. Slopes are least squares over all but
the first fifth. Exit 1 when a line is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.asking import Client, Stream, Unary
from benchmarks.counts import Lines, told
from benchmarks.pictures import enlarged, mammogram
from benchmarks.served import Served, serving
from benchmarks.thin_line import proportional_mib
from irmsia.errors import IrmsiaError, OverloadedError

SECONDS, UNARY_SECONDS, CLIENTS = 600.0, 60.0, 32
EVERY_S, WARM = 2.0, 0.2
SLOPE_MIB, HELD_MIB = 0.5, 700.0
DESCRIPTORS_A_MINUTE = 0.5


@dataclass(frozen=True)
class Look:
    """One look at the server: seconds since the start, proportional MiB with children, descriptors of the server."""

    at_s: float
    held_mib: float
    own_mib: float
    descriptors: int


@dataclass(frozen=True)
class Soak:
    """What so many clients did to the server."""

    door: str
    looks: list[Look]
    answered: int
    turned_away: int
    failed: dict[str, int]
    seconds: float

    def slope(self, value: Callable[[Look], float]) -> float:
        """Units a minute, least squares, without the first fifth."""
        used = [look for look in self.looks if look.at_s >= WARM * self.seconds]
        if len(used) < 3:
            return 0.0
        minutes = np.array([look.at_s / 60 for look in used])
        return float(np.polyfit(minutes, np.array([value(look) for look in used]), 1)[0])

    @property
    def largest_mib(self) -> float:
        """The most that was held at a look."""
        return max(look.held_mib for look in self.looks)


class Clients:
    """Threads that ask until they are told to stop."""

    def __init__(self, make: Callable[[], Client], data: bytes, count: int) -> None:
        self._data = data
        self._make = make
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.ends: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def run(self, seconds: float, look: Callable[[float], Look]) -> list[Look]:
        """Ask for so long, looking at the server meanwhile."""
        for thread in self._threads:
            thread.start()
        began, looks = time.monotonic(), []
        while (passed := time.monotonic() - began) < seconds:
            looks.append(look(passed))
            time.sleep(min(EVERY_S, seconds / 10))
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return looks

    def _run(self) -> None:
        client = self._make()
        while not self._stop.is_set():
            end, pause_s = _ask(client, self._data)
            with self._lock:
                self.ends[end] += 1
            self._stop.wait(pause_s)
        client.close()


def _ask(client: Client, data: bytes) -> tuple[str, float]:
    """How one image ended, and how long to wait."""
    try:
        return ("answered" if client.ask(data).decision is not None else "no decision"), 0.0
    except OverloadedError as error:
        return "turned away", error.retry_after_s
    except IrmsiaError as error:
        return error.code or "INTERNAL", 0.0
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted as a failure
        return type(error).__name__, 1.0


def soak(door: str, served: Served, data: bytes, seconds: float, count: int) -> Soak:
    """One door for so long."""
    make = {"stream": Stream, "unary": Unary}[door]
    clients = Clients(lambda: make(served.target), data, count)
    began = time.monotonic()
    looks = clients.run(seconds, lambda at: _look(served, at))
    ends = clients.ends
    failed = {end: number for end, number in ends.items() if end not in {"answered", "turned away"}}
    return Soak(door, looks, ends["answered"], ends["turned away"], failed, time.monotonic() - began)


def _look(served: Served, at: float) -> Look:
    return Look(at, _held_mib(served), served.memory_mib(), served.descriptors())


def _held_mib(served: Served) -> float:
    try:
        return proportional_mib(served.pid)
    except OSError:  # a child ended between two looks
        return proportional_mib(served.pid)


def check(streamed: Soak, unary: Soak, lines: Lines) -> None:
    """The lines."""
    lines.head()
    for one in (streamed, unary):
        asked = one.answered + sum(one.failed.values())
        counted = f"{one.answered} answered, {one.turned_away} turned away, failed {told(asked - one.answered, asked)}"
        seen = f"{counted}; {one.answered / one.seconds:.1f} images/s"
        lines.check(f"{one.door}: every image answered", seen, good=not one.failed and one.answered > 0)
    slope = streamed.slope(lambda look: look.held_mib)
    lines.check(f"memory slope at most {SLOPE_MIB} MiB a minute", f"{slope:+.2f}", good=slope <= SLOPE_MIB)
    open_files = streamed.slope(lambda look: look.descriptors)
    counts = [look.descriptors for look in streamed.looks]
    seen = f"{open_files + 0.0:+.2f} a minute, {min(counts)} to {max(counts)}"
    lines.check("descriptors flat", seen, good=abs(open_files) <= DESCRIPTORS_A_MINUTE)
    most = streamed.largest_mib
    beside = f"{most:.0f} MiB (unary beside it: {unary.largest_mib:.0f} MiB)"
    lines.check(f"at most {HELD_MIB:.0f} MiB with all clients streaming", beside, good=most <= HELD_MIB)


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long they stream")
    parser.add_argument("--unary-seconds", type=float, default=UNARY_SECONDS, help="how long they send unary")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many at once")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="2 s, small images: does it run? Its figures mean nothing")
    options = parser.parse_args()
    data = enlarged("DX", 256, 256) if options.quick else mammogram()
    seconds, unary_seconds = (2.0, 2.0) if options.quick else (options.seconds, options.unary_seconds)
    with tempfile.TemporaryDirectory() as home, serving(Path(home)) as served:
        streamed = soak("stream", served, data, seconds, options.clients)
        unary = soak("unary", served, data, unary_seconds, options.clients)
    lines = Lines()
    check(streamed, unary, lines)
    lines.figures |= {"streamed": asdict(streamed), "unary": asdict(unary)}
    code = lines.end(options.json)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
