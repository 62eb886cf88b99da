"""The stubs are made from the contract by the build's own tools, in an environment like the build's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # the tools are installed apart: they hold protobuf below 7

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[[Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a way to run `python hatch_build.py` in a source tree, with what pyproject.toml names for a build."""
    tools = tmp_path_factory.mktemp("tools")
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(tools)]
    subprocess.run([*install, *required], check=True, timeout=600)
    environment = os.environ | {"PYTHONPATH": str(tools)}

    def run(tree: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "hatch_build.py"]
        options = {"cwd": tree, "env": environment, "capture_output": True, "text": True, "timeout": 120}
        return subprocess.run(command, check=False, **options)

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree that holds the contract and the hook alone."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "hatch_build.py", tmp_path)
    return tmp_path


def _stubs(root: Path) -> dict[Path, bytes]:
    paths = (root / "src/irmsia/_proto").rglob("*.py*")
    return {path.relative_to(root): path.read_bytes() for path in paths if path.suffix in (".py", ".pyi")}


def test_stubs_are_those_of_the_contract(make: Make, tree: Path) -> None:
    """The stubs that the tests import are what the contract gives now, importable under the package's own name."""
    result = make(tree)
    assert result.returncode == 0, result.stderr
    made = _stubs(tree)
    assert {path.name for path in made} == {
        "__init__.py", "diagnosis_pb2.py", "diagnosis_pb2.pyi", "diagnosis_pb2_grpc.py",
    }  # fmt: skip
    assert made == _stubs(ROOT), "run `python hatch_build.py`"
    assert b"from irmsia._proto.irmsia.v1 import" in made[Path("src/irmsia/_proto/irmsia/v1/diagnosis_pb2_grpc.py")]


def test_making_stubs_again_replaces_them(make: Make, tree: Path) -> None:
    """What is no longer in the contract goes, and nothing is left beside the package."""
    assert make(tree).returncode == 0
    stray = tree / "src/irmsia/_proto/irmsia/v1/gone_pb2.py"
    stray.write_text("")
    assert make(tree).returncode == 0
    assert not stray.exists()
    assert [path.name for path in (tree / "src/irmsia").iterdir()] == ["_proto"]


def test_a_broken_contract_keeps_the_old_stubs(make: Make, tree: Path) -> None:
    """A proto file that does not parse fails the build, says where, and takes nothing away."""
    assert make(tree).returncode == 0
    before = _stubs(tree)
    (tree / "proto/irmsia/v1/diagnosis.proto").write_text('syntax = "proto3"; message {')
    result = make(tree)
    assert result.returncode != 0
    assert "diagnosis.proto" in result.stderr
    assert _stubs(tree) == before
