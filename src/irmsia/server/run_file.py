"""``IRMSIA_HOME/run/<pid>.json``: where a running server listens. A killed server's file is known to be stale.

A file counts only while the very process that wrote it lives: the pid and the moment that process started must both
agree, so a pid that the system gave to another program does not revive it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from irmsia import durable
from irmsia.server.address import join_address

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class RunningServer:
    """One server: ``http_port`` is null without an HTTP door; ``started`` is the `process_mark` of its process.

    ``tls``: both doors speak it.
    """

    pid: int
    host: str
    grpc_port: int
    http_port: int | None
    version: str
    started: str
    tls: bool = False

    @property
    def near_host(self) -> str:
        """The address by which this machine reaches it: a certificate names that, never "every address"."""
        return _EVERY_ADDRESS.get(self.host, self.host)

    @property
    def grpc_target(self) -> str:
        """``HOST:PORT`` of the gRPC door."""
        return join_address(self.near_host, self.grpc_port)

    @property
    def http_url(self) -> str | None:
        """``http://HOST:PORT`` or ``https://HOST:PORT`` of the HTTP door; null without one."""
        scheme = "https" if self.tls else "http"
        return None if self.http_port is None else f"{scheme}://{join_address(self.near_host, self.http_port)}"


def run_folder(home: Path) -> Path:
    """Where the run files of one IRMSIA_HOME stand."""
    return home / "run"


def write_run_file(home: Path, server: RunningServer) -> Path:
    """Write the file of ``server`` durably, readable by this user alone, and return its path.

    Raises:
        OSError: what the file system says; no file and no temporary file is left.
    """
    folder = run_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{server.pid}.json"
    durable.write_text(path, json.dumps(asdict(server), indent=1) + "\n", mode=0o600)
    return path


def remove_run_file(path: Path) -> None:
    """Remove the file; one that is gone already is fine."""
    with contextlib.suppress(OSError):
        path.unlink()


def list_running(home: Path) -> tuple[RunningServer, ...]:
    """The servers that are alive, the one that became ready last first. Stale files are passed over."""
    found = [(server, path) for path in _run_files(home) if (server := _live_server(path)) is not None]
    return tuple(server for server, path in sorted(found, key=lambda pair: _age_key(pair[1]), reverse=True))


def find_running(home: Path) -> RunningServer | None:
    """The server that became ready last, or null."""
    return next(iter(list_running(home)), None)


def clean_stale(home: Path) -> int:
    """Remove the files, whole or half written, of processes that live no more; returns how many."""
    removed = 0
    for path in _run_files(home) + _half_written(home):
        if _live_server(path) is None and not _may_be_writing(path):
            remove_run_file(path)
            removed += 1
    return removed


def process_mark(pid: int) -> str | None:
    """What tells this process from a later one with the same pid; null when there is no such process.

    Linux: boot id and start time in clock ticks (proc(5), field 22 of stat). Elsewhere: the start that ``ps`` tells.
    """
    if Path("/proc/self/stat").exists():
        return _linux_mark(pid)
    return _ps_mark(pid)


def _linux_mark(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    state, start_time = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}:{start_time}"


def _ps_mark(pid: int) -> str | None:
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _run_files(home: Path) -> list[Path]:
    return sorted(path for path in run_folder(home).glob("*.json") if path.stem.isdecimal())


def _half_written(home: Path) -> list[Path]:
    return sorted(run_folder(home).glob(".*.json.*.tmp"))


def _may_be_writing(path: Path) -> bool:
    """Whether a temporary file belongs to a process that lives: ``.<pid>.json.<random>.tmp``."""
    name = path.name.removeprefix(".").partition(".")[0]
    return path.suffix == ".tmp" and name.isdecimal() and process_mark(int(name)) is not None


def _live_server(path: Path) -> RunningServer | None:
    server = _read(path)
    if server is None or server.pid != int(path.stem):
        return None
    return server if process_mark(server.pid) == server.started else None


def _read(path: Path) -> RunningServer | None:
    if path.suffix != ".json":
        return None
    try:
        return RunningServer(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _age_key(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name
