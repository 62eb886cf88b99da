from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from irmsia.server.run_file import (
    RunningServer,
    _ps_mark,
    clean_stale,
    find_running,
    list_running,
    process_mark,
    remove_run_file,
    run_folder,
    write_run_file,
)


def this_process() -> RunningServer:
    """A server that this very process could be."""
    mark = process_mark(os.getpid())
    assert mark is not None
    return RunningServer(os.getpid(), "127.0.0.1", 50051, None, "0.1.0", mark)


@pytest.fixture
def dead_pid() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_written_found_removed(tmp_path: Path) -> None:
    """A live server's file is found whole, is private, and is gone after it was removed, twice if need be."""
    server = this_process()
    path = write_run_file(tmp_path, server)
    assert find_running(tmp_path) == server
    assert server.grpc_target == "127.0.0.1:50051"
    assert path.stat().st_mode & 0o777 == 0o600
    assert run_folder(tmp_path).stat().st_mode & 0o777 == 0o700
    remove_run_file(path)
    remove_run_file(path)
    assert find_running(tmp_path) is None


def test_no_home_no_server(tmp_path: Path) -> None:
    """A home without a run folder has no server and nothing to clean."""
    assert list_running(tmp_path / "none") == ()
    assert clean_stale(tmp_path / "none") == 0


def test_a_reused_pid_is_stale(tmp_path: Path) -> None:
    """A file whose pid now belongs to another process is not believed and is cleaned."""
    path = write_run_file(tmp_path, replace(this_process(), started="another boot:1"))
    assert find_running(tmp_path) is None
    assert clean_stale(tmp_path) == 1
    assert not path.exists()


def test_cleaning_takes_what_is_dead_alone(tmp_path: Path, dead_pid: int) -> None:
    """Files of dead processes, whole, broken or half written, go; those of the living stay, strangers' files too."""
    write_run_file(tmp_path, this_process())
    write_run_file(tmp_path, replace(this_process(), pid=dead_pid))
    folder = run_folder(tmp_path)
    (folder / f".{dead_pid}.json.abc.tmp").write_text("{")
    (folder / f".{os.getpid()}.json.abc.tmp").write_text("{")
    (folder / "999999999.json").write_text("{")
    (folder / "999999998.json").write_text(json.dumps({"pid": 1}))
    (folder / "notes.json").write_text("{}")
    assert clean_stale(tmp_path) == 4
    kept = {path.name for path in folder.iterdir()}
    assert kept == {f"{os.getpid()}.json", f".{os.getpid()}.json.abc.tmp", "notes.json"}


def test_a_file_under_a_foreign_name_is_stale(tmp_path: Path) -> None:
    """The name and the content must agree."""
    run_folder(tmp_path).mkdir()
    (run_folder(tmp_path) / "1.json").write_text(json.dumps(asdict(this_process())))
    assert find_running(tmp_path) is None


def test_marks(dead_pid: int) -> None:
    """A process has one mark for its life, other processes have others, and the dead have none."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mark = process_mark(child.pid)
        assert mark is not None
        assert mark == process_mark(child.pid) != process_mark(os.getpid())
    finally:
        child.communicate(b"\n")
    assert process_mark(dead_pid) is None


def test_a_zombie_is_dead() -> None:
    """A process that ended but was not waited for yet does not count as running."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_mark(child.pid) is None
    child.communicate()


def test_marks_where_there_is_no_proc(dead_pid: int) -> None:
    """On systems without /proc the start time comes from ps, where there is one."""
    mark = _ps_mark(os.getpid())
    assert mark == _ps_mark(os.getpid())
    assert _ps_mark(dead_pid) is None


def test_brackets_around_ipv6() -> None:
    """A target is one word that a client takes."""
    assert replace(this_process(), host="::1").grpc_target == "[::1]:50051"


@pytest.mark.parametrize(("host", "near"), [("0.0.0.0", "127.0.0.1:50051"), ("::", "[::1]:50051")])
def test_every_address_is_reached_by_loopback(host: str, near: str) -> None:
    """A client of this machine is told an address that can be asked, and that a certificate can name."""
    server = replace(this_process(), host=host, http_port=50051, tls=True)
    assert (server.grpc_target, server.http_url) == (near, f"https://{near}")
