"""The serving path runs where there is no torch: an environment that holds the core alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Platform

FORBIDDEN = ("torch", "torchvision", "timm", "monai", "sklearn", "onnxscript", "onnxruntime")
HOOK = f'''
"""Imported by every Python process below: the training libraries are not there."""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
        return None

sys.meta_path.insert(0, Absent())
'''


@pytest.fixture
def core(home: Path, tmp_path: Path) -> Platform:
    """A platform whose processes, decoder children among them, cannot import the training libraries."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    # In a copy: the tiny model has nothing to prove it by, and what fails to verify may not serve any more.
    copy = shutil.copytree(home, tmp_path / "home")
    return Platform(copy, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))


def test_the_hook_fires(core: Platform, tmp_path: Path) -> None:
    """Training cannot even start there."""
    import subprocess

    command = [sys.executable, "-c", "import torch"]
    result = subprocess.run(command, env=core.environment, capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in result.stderr


def test_serve_diagnose_qa_and_verify_need_no_torch(core: Platform, phantoms: Path, tmp_path: Path) -> None:
    """Every one of them works through to its end."""
    try:
        _, target = core.serve()
        file = next(phantoms.glob("*.dcm"))
        assert core.run("diagnose", file, "--heatmap", tmp_path / "maps").returncode == 0
        assert core.run("diagnose", file, "--server", target).returncode == 0
        assert core.run("qa").returncode == 1  # the tiny model knows no phantoms, but every door answered
        reports = [json.loads(line) for line in core.run("models", "verify", "--json").stdout.splitlines()]
        assert {report["runtime"] for report in reports} == {"openvino"}
        assert all(report["fail"] == 0 for report in reports)
    finally:
        core.close()
