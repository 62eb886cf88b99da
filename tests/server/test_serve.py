"""`serve` at its edges, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.interrupts import interrupts_reach_children
from tests.server.serve_cases import CASES


@pytest.mark.parametrize("name", sorted(CASES))
def test_serve_ends_as_it_should(name: str, tmp_path: Path) -> None:
    """Each case of `tests.server.serve_cases` holds, and its process ends by itself and without a word."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    with interrupts_reach_children():
        case = subprocess.Popen(
            [sys.executable, "-m", "tests.server.serve_cases", name, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
    _, said = case.communicate(timeout=120)
    assert (case.returncode, "Traceback" in said) == (0, False), said
