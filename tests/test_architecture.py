"""The contracts of import-linter hold, and each of them was seen to fire."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "irmsia"
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
}
# contract -> a room and an import that it must not hold
PLANTS = {
    "floors": ("imaging", "import irmsia.inference"),
    "server": ("server", "import irmsia.training"),
    "client": ("client", "import irmsia.findings"),
    "training": ("training", "import irmsia.wire"),
    "inference": ("inference", "import irmsia.wire"),
    "evaluation": ("evaluation", "import irmsia.bundles"),
    "networks": ("networks", "import irmsia.imaging"),
    "datasets": ("datasets", "import irmsia.findings"),
    "wire": ("wire", "import irmsia.imaging"),
    "no-torch-when-serving": ("bundles", "def later() -> None:\n    import torch"),
    "doors": ("findings", "import grpc"),
    "database": ("datasets", "import sqlalchemy"),
    "http-clients": ("server", "import httpx2"),
    "collecting": ("datasets", "import httpx2"),
}
TRAINING_ROOMS = {"__init__", "app", "evaluation", "networks", "training", "_proto"}
TRAINING_USE_CASES = {"app.__init__", "app.build", "app.train"}


def _lint(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run every contract on the package below ``source``."""
    plain = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = os.environ | {"PYTHONPATH": str(source)} | plain
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package to plant violations into."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "irmsia", ignore=shutil.ignore_patterns("__pycache__", "starter"))
    return tmp_path / "src"


def test_every_contract_holds(tmp_path: Path) -> None:
    """No room imports what it must not know."""
    result = _lint(PACKAGE.parent, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_fires(copy: Path, tmp_path: Path) -> None:
    """A violation planted for each contract is reported under that contract's own name."""
    assert set(PLANTS) == set(CONTRACTS)
    for identity, (room, line) in PLANTS.items():
        (copy / "irmsia" / room / f"planted_{identity.replace('-', '_')}.py").write_text(line + "\n", "utf-8")
    result = _lint(copy, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = result.stdout.split("Broken contracts", 1)[1]
    for identity, (room, _) in PLANTS.items():
        own = broken.split(f"\n{CONTRACTS[identity]['name']}\n", 1)[1]
        assert f"irmsia.{room}.planted_{identity.replace('-', '_')}" in own, f"{identity} did not fire"


def test_a_new_room_needs_a_floor(copy: Path, tmp_path: Path) -> None:
    """A package that no floor names breaks the layers contract."""
    (copy / "irmsia" / "attic").mkdir()
    (copy / "irmsia" / "attic" / "__init__.py").write_text("", "utf-8")
    result = _lint(copy, tmp_path)
    assert result.returncode == 1
    assert "attic" in result.stdout


def test_the_torch_contract_names_every_serving_room() -> None:
    """Torch is forbidden in every room and every use case but the training side."""
    named = set(CONTRACTS["no-torch-when-serving"]["source_modules"])
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    use_cases = {f"app.{path.stem}" for path in (PACKAGE / "app").glob("*.py")} - TRAINING_USE_CASES
    assert named == {f"irmsia.{name}" for name in (rooms - TRAINING_ROOMS) | use_cases}


def test_package_inits_are_tables_of_contents() -> None:
    """An ``__init__`` has at most 60 lines and imports nothing from outside the standard library and its own room."""
    for path in PACKAGE.rglob("__init__.py"):
        if "_proto" in path.parts:
            continue
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 60, path
        for node in ast.walk(ast.parse(text)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert module.split(".")[0] in sys.stdlib_module_names | {"irmsia"}, f"{path}: {module}"
