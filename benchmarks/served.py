"""A server process started for a benchmark, and what the kernel says of it: processor time, memory, descriptors.

Everything is read from ``/proc`` from outside, children and those that have ended among them, so that no door is asked
to measure itself. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.thin_line import children, own_mib, peak_mib
from irmsia.server.run_file import RunningServer, find_running

START_S = 120.0
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_RESET_PEAK = "5"  # proc(5), clear_refs: the peak resident size becomes the present one


@dataclass(frozen=True)
class Watched:
    """A process with everything below it."""

    pid: int

    def cpu_s(self) -> float:
        """Processor seconds so far, user and system, of the process, its children and those that have ended."""
        return sum(_cpu_s(pid) for pid in self._all())

    def memory_mib(self) -> float:
        """Resident MiB of the process alone: what its children map is counted apart."""
        return own_mib(self.pid)

    def reset_peak(self) -> None:
        """Forget the peaks of before."""
        for pid in self._all():
            with contextlib.suppress(OSError):  # ended meanwhile
                Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")

    def peak_mib(self) -> float:
        """Largest resident MiB of the process alone since `reset_peak`."""
        return peak_mib(self.pid)

    def peak_all_mib(self) -> float:
        """Sum of the peaks of the process and its children, MiB: an upper bound of what was held at once."""
        return sum(_peak_mib(pid) for pid in self._all())

    def descriptors(self) -> int:
        """Open descriptors of the process alone."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208  # one per descriptor, no Path objects

    def _all(self) -> list[int]:
        found, queue = [], [self.pid]
        while queue:
            found.append(queue.pop())
            queue += _children(found[-1])
        return found


@dataclass(frozen=True)
class Served(Watched):
    """A running server of this machine and where its doors are."""

    process: subprocess.Popen[bytes]
    running: RunningServer
    home: Path

    @property
    def target(self) -> str:
        """``HOST:PORT`` of the gRPC door."""
        return self.running.grpc_target

    @property
    def http(self) -> tuple[str, int]:
        """Address of the HTTP door."""
        if self.running.http_port is None:
            raise SystemExit("the server has no HTTP door")
        return self.running.host, self.running.http_port


@contextmanager
def serving(home: Path | None = None, **settings: object) -> Iterator[Served]:
    """`irmsia serve` on free ports; ``settings``: as in the environment, ``ENGINE__QUEUE=8``. SIGTERM at the end."""
    with tempfile.TemporaryDirectory() as made:
        served = start(home or Path(made), **settings)
        try:
            yield served
        finally:
            stop(served.process)


def start(home: Path, **settings: object) -> Served:
    """Start a server and wait until it takes requests."""
    command = [sys.executable, "-m", "irmsia.cli.main", "serve", "--port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(command, env=environment(home, settings), stdout=subprocess.DEVNULL)
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        running = find_running(home)
        if running is not None and running.pid == process.pid:
            return Served(process.pid, process, running, home)
        time.sleep(0.01)
    stop(process)
    raise SystemExit("the server did not start")


def stop(process: subprocess.Popen[bytes], patience_s: float = 60.0) -> int:
    """SIGTERM, and the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    return process.wait(patience_s)


def environment(home: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """This environment with ``home``, one thread a library, and settings by their names behind ``IRMSIA_``."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    given = {f"IRMSIA_{name}": str(value) for name, value in settings.items()}
    return os.environ | threads | given | {"IRMSIA_HOME": str(home)}


class OtherLoad:
    """How many cores others used: everything the kernel counted but this process and what it started."""

    def __init__(self) -> None:
        self._own = Watched(os.getpid())
        self._began = time.monotonic()
        self._others = _machine_s() - self._own.cpu_s()

    def cores(self) -> float:
        """Cores since the start, on average."""
        wall = max(time.monotonic() - self._began, 1e-3)
        return max(0.0, _machine_s() - self._own.cpu_s() - self._others) / wall


def _children(pid: int) -> list[int]:
    """Those of every thread. A thread that ends meanwhile hands its children to another, so all are read again."""
    while Path(f"/proc/{pid}").exists():
        try:
            return children(pid)
        except OSError:
            continue
    return []


def _peak_mib(pid: int) -> float:
    try:
        return peak_mib(pid)
    except (OSError, StopIteration):  # ended meanwhile; one that waits to be collected holds nothing
        return 0.0


def _machine_s() -> float:
    """Busy processor seconds of the whole machine: all but idle and waiting (proc(5), stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * _TICK_S


def _cpu_s(pid: int) -> float:
    """utime, stime, cutime and cstime (proc(5), fields 14 to 17 of stat); ended threads are in them."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0  # ended meanwhile: its parent has its time
    return sum(int(field) for field in stat.rpartition(")")[2].split()[11:15]) * _TICK_S
