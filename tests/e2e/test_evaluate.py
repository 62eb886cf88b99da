"""`irmsia evaluate` as a process: the starter on some of the real sealed images, without torch, interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from irmsia.bundles.store import STARTER
from irmsia.datasets.parts import list_sources
from irmsia.datasets.sealed import read_sealed
from tests.e2e.conftest import Platform
from tests.e2e.test_core_only import HOOK

A_CLASS = 5


@pytest.fixture(scope="module")
def subset(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few sealed images of every class, and one that is not sealed."""
    folder = tmp_path_factory.mktemp("subset")
    sealed = {row.file_sha256 for row in read_sealed(STARTER / "sealed.jsonl")}
    taken: dict[tuple[str, str], int] = {}
    for sample in list_sources(data_dir):
        key = (sample.region, sample.term)
        is_sealed = hashlib.sha256((data_dir / sample.path).read_bytes()).hexdigest() in sealed
        limit = A_CLASS if is_sealed else 1
        place = (*key, "sealed" if is_sealed else "other")
        if taken.get(place, 0) < limit:  # type: ignore[call-overload]
            taken[place] = taken.get(place, 0) + 1  # type: ignore[index, call-overload]
            (folder / sample.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data_dir / sample.path, folder / sample.path)
    return folder


@pytest.mark.data
def test_the_starter_is_measured_on_sealed_images(starter: Platform, subset: Path, tmp_path: Path) -> None:
    """Five of each class are found by digest and answered; the opening is logged, and a second one shown."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    out = tmp_path / "out"
    command = ("evaluate", "--bundle", "starter", "--data", subset, "--out", out, "--json")
    result = starter.run(*command, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    counts = {
        region: len(report["terms"]) * A_CLASS for region, report in found["regions"].items() if region != "phantom"
    }
    assert {region: found["regions"][region]["n"] for region in counts} == counts
    assert found["router"]["n"] == sum(counts.values()) == 45
    assert "45 of 996 listed images" in found["facts"]["part"]
    assert found["regions"]["chest"]["overall"]["accuracy"]["value"] >= 0.8
    assert {path.name for path in out.iterdir()} == {"report.md", "report-brain.svg", "metrics.json", "predictions.csv"}
    again = json.loads(starter.run("evaluate", "--data", subset, "--json").stdout)
    assert "opened 2 time(s)" in again["facts"]["opened"]
    assert len((starter.home / "seal.jsonl").read_text().splitlines()) == 2


@pytest.mark.data
def test_ctrl_c_leaves_nothing_broken(starter: Platform, subset: Path, tmp_path: Path) -> None:
    """Interrupted once the part was opened: exit 130, no traceback, nothing half written, the opening stands logged."""
    log, out = starter.home / "seal.jsonl", tmp_path / "out"
    process = starter.start("evaluate", "--data", subset, "--out", out)
    end = time.monotonic() + 60
    while not log.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # A shell shows both as 130; CPython ends by the signal itself when an extension module was just being imported.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert not out.exists()
    assert len(log.read_text().splitlines()) == 1
