"""The server as a process: start, refuse, die, start again, stop."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Platform
from tests.server.certificates import make_certificate, write_tls


def _memory(pid: int) -> int:
    """Proportional set size of a process and its children, bytes."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes)


def _wait_gone(children: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_killed_and_started_again_without_cleaning_up(platform: Platform, phantoms: Path) -> None:
    """kill -9 leaves no child behind; the same port serves again at once and `auto` finds the new server."""
    first, target = platform.serve()
    children = psutil.Process(first.pid).children(recursive=True)
    assert children
    first.send_signal(signal.SIGKILL)
    first.wait()
    _wait_gone(children)
    second, again = platform.serve(int(target.rpartition(":")[2]))
    assert again == target
    result = platform.run("diagnose", next(phantoms.glob("*.dcm")), "--server", target)
    assert result.returncode == 0, result.stderr
    assert [path.stem for path in (platform.home / "run").glob("*.json") if path.stem == str(second.pid)]
    assert not (platform.home / "run" / f"{first.pid}.json").exists()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_nothing_behind(platform: Platform, kind: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end with exit 0, no child, no run file, no word."""
    server, _ = platform.serve()
    children = psutil.Process(server.pid).children(recursive=True)
    server.send_signal(kind)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err) == (0, "", "")
    _wait_gone(children)
    assert not (platform.home / "run" / f"{server.pid}.json").exists()


def test_a_port_in_use_is_one_clear_line(served: tuple[Platform, str]) -> None:
    """It is said at once, before a model is loaded."""
    platform, target = served
    result = platform.run("serve", "--port", "0", "--grpc-port", target.rpartition(":")[2])
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert "in use" in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "10.1.2.3"])
def test_an_address_that_others_reach_is_refused(platform: Platform, host: str) -> None:
    """Exit 78 and one line why, until there are accounts."""
    result = platform.run("serve", "--host", host)
    assert result.returncode == 78
    assert result.stderr.count("\n") == 1
    assert "loopback" in result.stderr or "localhost" in result.stderr


def test_a_home_without_a_model_is_refused(platform: Platform, tmp_path: Path) -> None:
    """A server never opens its door without a model that can answer."""
    (tmp_path / "active.json").write_text('{"id": "' + "0" * 64 + '"}')
    result = platform.run("serve", "--port", "0", "--grpc-port", "0", IRMSIA_HOME=str(tmp_path))
    assert result.returncode in {1, 2}
    assert "serving" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_fails_its_own_check_stops(platform: Platform) -> None:
    """`serve --qa` with a model that does not know the phantoms prints the table and ends with exit 1."""
    server = platform.start("serve", "--port", "0", "--grpc-port", "0", "--qa")
    out, err = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "FAIL" in out
    assert "It runs" not in out
    assert "Traceback" not in err


def test_a_check_that_does_not_reach_its_own_server_has_failed(platform: Platform, tmp_path: Path) -> None:
    """`serve --qa` by TLS without the authority of the client: exit 1 and a line why, no server that looks checked."""
    files = write_tls(tmp_path, make_certificate("localhost"))
    platform.environment |= {
        "IRMSIA_SERVER__TLS_CERTIFICATE": str(files.certificate),
        "IRMSIA_SERVER__TLS_KEY": str(files.key),
    }
    server = platform.start("serve", "--port", "0", "--grpc-port", "0", "--qa")
    out, err = server.communicate(timeout=60)
    assert server.returncode == 1
    assert out == ""
    assert "check does not reach this server" in err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="PSS is Linux's")
def test_a_server_stays_small_and_starts_soon(platform: Platform) -> None:
    """At most 600 MB with its children; ready within 3 s, which a busy machine may stretch tenfold here."""
    begin = time.monotonic()
    server, _ = platform.serve()
    assert time.monotonic() - begin < 30
    assert _memory(server.pid) < 600 * 1000**2
    assert len(psutil.Process(server.pid).children()) <= len(os.sched_getaffinity(0)) + 1
