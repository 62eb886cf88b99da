"""What every study shares: figures, pages, the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study import Bounds, Page, Study, Table, goal, run_study, share_of


def test_one_group_alone_gives_no_interval() -> None:
    """Twenty slices of one series are one draw: the share is printed, an interval is not."""
    found = share_of(["series"] * 20, [True] * 5 + [False] * 15)
    assert (found.value, found.low, found.high, found.groups) == (0.25, None, None, 1)
    assert "no interval" in str(found)


def test_a_share_of_one_has_the_exact_lower_end_of_its_groups() -> None:
    """Four series, all refused: the lower end is .025 to the power of 1 / 4, however many slices there are."""
    found = share_of(["a", "a", "b", "c", "d", "d"], [True] * 6)
    assert found.low == pytest.approx(0.025**0.25)
    assert found.high == 1.0


def test_nothing_measured_is_said_so() -> None:
    """A family without images gives no number."""
    found = share_of([], [])
    assert str(found) == "no such case"
    assert goal(found.value, 0.9) == "no such case"


def test_goals_are_met_from_their_value_on() -> None:
    """The goal stands beside the figure, also when it is missed."""
    assert (goal(0.95, 0.95), goal(0.94, 0.95)) == ("met", "MISSED")


def _page(study: Study) -> Page:
    table = Table("Figures", ("what", "share"), [("made", Bounds(0.5, 0.25, 0.75, 8, 4))])
    return Page("A study", "the command", study.bundle.id, "Why.", [table], ["A note."], {"picture.png": b"png"})


def test_a_study_writes_its_page_and_picture_and_prints_json_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page names its command and the bundle; standard output holds one JSON object and nothing else."""
    page = tmp_path / "study.md"
    code = run_study(_page, name="x", says=None, arguments=["--data", str(tmp_path), "--json", "--write", str(page)])
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["tables"][0]["rows"][0]["share"] == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8, "groups": 4}
    assert f"`the command` on bundle `{found['bundle']}`" in page.read_text("utf-8")
    assert "| made | 0.500 [0.250, 0.750] |" in page.read_text("utf-8")
    assert (tmp_path / "picture.png").read_bytes() == b"png"


def test_a_folder_without_a_bundle_fails_with_a_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, no path: the error's code and exit 1."""
    code = run_study(_page, name="x", says=None, arguments=["--data", str(tmp_path), "--bundle", str(tmp_path / "no")])
    assert code == 1
    assert str(tmp_path) not in capsys.readouterr().err
