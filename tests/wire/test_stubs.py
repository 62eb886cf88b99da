from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("grpc_tools", reason="stubs are made by grpcio-tools, which only a build needs")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    """The build hook's module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree that holds the contract alone."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    return tmp_path


def test_stubs_are_those_of_the_contract(hatch_build: ModuleType, tree: Path) -> None:
    """The stubs that the tests import are what the contract gives now, importable under the package's own name."""
    made = {path.relative_to(tree): path.read_bytes() for path in hatch_build.make_stubs(tree)}
    assert {path.name for path in made} == {
        "__init__.py", "diagnosis_pb2.py", "diagnosis_pb2.pyi", "diagnosis_pb2_grpc.py",
    }  # fmt: skip
    for path, content in made.items():
        assert (ROOT / path).read_bytes() == content, "run `python hatch_build.py`"
    assert b"from irmsia._proto.irmsia.v1 import" in made[Path("src/irmsia/_proto/irmsia/v1/diagnosis_pb2_grpc.py")]


def test_making_stubs_again_replaces_them(hatch_build: ModuleType, tree: Path) -> None:
    """What is no longer in the contract goes, and nothing is left beside the package."""
    hatch_build.make_stubs(tree)
    stray = tree / "src/irmsia/_proto/irmsia/v1/gone_pb2.py"
    stray.write_text("")
    hatch_build.make_stubs(tree)
    assert not stray.exists()
    assert [path.name for path in (tree / "src/irmsia").iterdir()] == ["_proto"]


def test_a_broken_contract_keeps_the_old_stubs(
    hatch_build: ModuleType, tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A proto file that does not parse fails the build and takes nothing away."""
    before = hatch_build.make_stubs(tree)
    (tree / "proto/irmsia/v1/diagnosis.proto").write_text('syntax = "proto3"; message {')
    with pytest.raises(RuntimeError, match="protoc failed"):
        hatch_build.make_stubs(tree)
    assert all(path.exists() for path in before)
    assert "diagnosis.proto" in capfd.readouterr().err
