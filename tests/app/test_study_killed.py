"""A study whose process is killed at any moment ends with every instance exactly once (faults F2)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from irmsia.app.diagnose import DiagnoseOptions
from irmsia.app.study import StudyOptions
from tests.app.studies import StudyService, run, write_folder

ROOT = Path(__file__).resolve().parents[2]
COUNT = 200
_PROGRAM = """
import sys
from pathlib import Path
from tests.app.studies import StudyService, run
service = StudyService()
run(service, Path(sys.argv[1]), Path(sys.argv[2]), advance=lambda: sys.stdin.buffer.read(1))
service.close()
"""


def _start(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    """A run that takes one file for each byte it is given, and all the rest at the end of its input."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", _PROGRAM, str(folder), str(out)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _kill(run: subprocess.Popen[bytes], journal: Path, *, allowed: int, lines: int) -> None:
    """Let the run take ``allowed`` files, and kill it while it does, as soon as ``lines`` are written."""
    with run:
        assert run.stdin is not None
        run.stdin.write(b"." * allowed)
        run.stdin.flush()
        while _lines(journal) < lines:
            assert run.poll() is None
            time.sleep(0.0005)  # a look at the journal, not a guess of how long something takes
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["jsonl", "csv", "html"])
def test_killed_at_random_moments_every_instance_is_there_once(tmp_path: Path, kind: str) -> None:
    """The file at the end is that of an unbroken run, and no kill loses a line."""
    folder, out, whole = write_folder(tmp_path / "in", COUNT), tmp_path / f"r.{kind}", tmp_path / f"whole.{kind}"
    service = StudyService()
    run(service, folder, whole)
    service.close()
    journal, chance = StudyOptions(out, DiagnoseOptions()).journal, random.Random(kind)
    for _ in range(3):
        before, more = _lines(journal), chance.randrange(10, 45)
        _kill(_start(folder, out), journal, allowed=before + more, lines=before + chance.randrange(1, more))
        assert _lines(journal) > before
    last = _start(folder, out)
    last.communicate(timeout=120)
    assert last.returncode == 0
    assert out.read_bytes() == whole.read_bytes()
