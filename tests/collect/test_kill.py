"""F4: a download that is killed at any moment goes on where it was: 0 lost, 0 doubled, 0 leftovers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collect.killing import Killed, kill_again_and_again
from tests.collect.test_faults import make_source


def assert_nothing_amiss(found: Killed) -> None:
    """Whatever was killed, what stands there is what should."""
    print(found)
    assert (found.lost, found.wrong, found.doubled, found.leftovers) == (0, 0, 0, [])


def test_killed_at_a_few_random_moments(tmp_path: Path) -> None:
    """Five kills, by SIGKILL and Ctrl-C, then set equality by SHA-256."""
    found = kill_again_and_again(5, tmp_path, seed=1)
    assert found.kills == 5
    assert_nothing_amiss(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_killed_at_twenty_random_moments(tmp_path: Path, seed: int) -> None:
    """Twenty kills, then set equality by SHA-256 and no temporary file."""
    found = kill_again_and_again(20, tmp_path, seed)
    assert found.kills == 20
    assert_nothing_amiss(found)


def test_killed_at_every_call_to_the_system(tmp_path: Path) -> None:
    """A process that dies at its k-th call, for every k, leaves what the next one completes."""
    make_source(tmp_path / "from")
    run = subprocess.run(
        [sys.executable, "-m", "tests.collect.crashing", str(tmp_path / "from"), str(tmp_path / "to")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["points"] > 50
    assert found["whole_after"] == found["points"]
    assert found["calls_to_heal_failed"] == 0
