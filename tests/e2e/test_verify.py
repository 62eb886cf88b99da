"""`irmsia verify` as people type it: exit codes, the table, JSON lines; no server anywhere."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import Platform


def test_answers_are_proven_offline_and_tampering_is_exit_1(platform: Platform, phantoms: Path, tmp_path: Path) -> None:
    """All answers of a folder are verified against the folder; a changed risk and a swapped file are named."""
    lines = platform.run("diagnose", phantoms, "--json", "--heatmap", tmp_path / "maps").stdout
    answers = tmp_path / "answers.jsonl"
    answers.write_text(lines)
    result = platform.run("verify", answers, phantoms, "--json")
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stdout + result.stderr
    assert [report["ok"] for report in reports] == [True] * 4
    assert {check["check"] for check in reports[0]["checks"]} >= {"file", "pixels", "bundle", "answer"}
    first, second = (json.loads(line) for line in lines.splitlines()[:2])
    first["risk"]["score"] += 1.0
    answers.write_text(json.dumps(first, indent=2))
    result = platform.run("verify", answers, first["input"])
    assert result.returncode == 1
    assert "NOT VERIFIED" in result.stdout
    assert "risk.score is" in result.stdout
    result = platform.run("verify", answers, second["input"])
    assert result.returncode == 1
    assert "another file" in result.stdout


def test_a_file_that_is_no_answer_is_exit_2(platform: Platform, phantoms: Path, tmp_path: Path) -> None:
    """One line that says so, no traceback, nothing on standard output."""
    bad = tmp_path / "bad.json"
    bad.write_text('{"rule": NaN}')
    result = platform.run("verify", bad, next(phantoms.glob("*.dcm")), "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert "INVALID_REQUEST" in result.stderr
    assert "Traceback" not in result.stderr
