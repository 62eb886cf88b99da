"""`irmsia diagnose --out FILE` as people type it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from irmsia.app.same import first_difference
from irmsia.wire.json import diagnosis_from_json
from tests.e2e.conftest import MANY, Platform


def _answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def _begun(platform: Platform, folder: Path, out: Path) -> subprocess.Popen[str]:
    """A run whose first answers are written."""
    run = platform.start("diagnose", folder, "--out", out)
    while not (out.exists() and out.stat().st_size):
        assert run.poll() is None
        time.sleep(0.001)  # a look at the file, not a guess of how long something takes
    return run


def test_the_file_holds_what_json_prints(platform: Platform, phantoms: Path, tmp_path: Path) -> None:
    """The same answers in the same order; `--json` prints the one line of what they come to."""
    result = platform.run_here("diagnose", phantoms, "--out", tmp_path / "r.jsonl", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["counts"]["total"], len(told["studies"]), told["model"]["name"]) == (4, 4, "tiny")
    assert "skipped 3 files: 1 hidden, 1 mask, 1 not an image" in result.stderr
    printed = [json.loads(line) for line in platform.run_here("diagnose", phantoms, "--json").stdout.splitlines()]
    pairs = zip(_answers(tmp_path / "r.jsonl"), printed, strict=True)
    assert [first_difference(*map(diagnosis_from_json, pair)) for pair in pairs] == [None] * 4


@pytest.mark.parametrize("kind", ["csv", "html"])
def test_a_server_answers_a_study(served: tuple[Platform, str], phantoms: Path, tmp_path: Path, kind: str) -> None:
    """A table and a page by the server that runs here; the page holds a picture of every map."""
    platform, _ = served
    out = tmp_path / f"r.{kind}"
    result = platform.run_here("diagnose", phantoms, "--out", out, "--server", "auto")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    if kind == "csv":
        with out.open(encoding="utf-8", newline="") as file:
            assert [row["decision"] != "" for row in csv.DictReader(file)] == [True] * 4
    else:
        answers = platform.run_here("diagnose", phantoms, "--json").stdout.splitlines()
        assert out.read_text("utf-8").count("<img ") == sum(json.loads(line)["risk"] is not None for line in answers)


def test_a_named_file_that_fails_is_exit_1(platform: Platform, phantoms: Path, tmp_path: Path) -> None:
    """It has its row, and those beside it are answered."""
    out = tmp_path / "r.jsonl"
    result = platform.run_here("diagnose", phantoms / "notes.txt", phantoms, "--out", out)
    assert result.returncode == 1
    codes = [answer["error"] and answer["error"]["code"] for answer in _answers(out)]
    assert codes == ["NOT_AN_IMAGE", *[None] * 4]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--out", "r.txt"),
        ("--restart",),
        ("--language", "fr"),
        ("--out", "r.csv", "--language", "fr"),
        ("--out", "r.csv", "--stream"),
        ("--batch", "--stream"),
    ],
)
def test_wrong_usage_is_exit_2(platform: Platform, phantoms: Path, arguments: tuple[str, ...]) -> None:
    """Before a model is loaded."""
    result = platform.run_here("diagnose", phantoms, *arguments)
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on(platform: Platform, many: Path, tmp_path: Path, kind: signal.Signals) -> None:
    """Ctrl-C and kill -9: what was answered is not asked again, and every instance is there once at the end."""
    out = tmp_path / "r.jsonl"
    run = _begun(platform, many, out)
    run.send_signal(kind)
    _, err = run.communicate(timeout=60)
    assert run.returncode == (130 if kind is signal.SIGINT else -kind)
    assert "Traceback" not in err
    assert ("goes on" in err) == (kind is signal.SIGINT)
    result = platform.run_here("diagnose", many, "--out", out, "--json")
    assert result.returncode == 0, result.stderr
    assert 0 < json.loads(result.stdout)["reused"] < MANY
    uids = [answer["source"]["sop_instance_uid"] for answer in _answers(out)]
    assert len(uids) == len(set(uids)) == MANY
