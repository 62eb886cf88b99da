"""`irmsia data stats`, `merge`, `probe`, `cite`: tables that fit a terminal, one JSON object a line, exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from irmsia.app.datasets import open_catalogue
from irmsia.cli import main as cli
from irmsia.settings.tree import Settings
from tests.datasets.made_records import make_record

HOSTILE = "[bold]x[/bold]\x1b[31m\u202e"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with two datasets; every label of one has a hostile name."""
    root = tmp_path_factory.mktemp("stats")
    with open_catalogue(Settings(home=root / "home")) as catalogue:
        for name, labels in (("one", ("normal", "benign")), ("two", (HOSTILE.replace("\x1b", ""), "tumor"))):
            folder = root / name
            folder.mkdir()
            records = [
                make_record(f"{number}.png", label=labels[number % 2], source=name, patient=f"{name}{number}")
                for number in range(20)
            ]
            for record in records:
                assert cv2.imwrite(str(folder / record.path), np.arange(100, dtype=np.uint8).reshape(10, 10))
            catalogue.create(name, folder)
            catalogue.commit(name, records, (), operation="scan")
    yield root / "home"


def _run(home: Path, *arguments: str, width: int = 80) -> Result:
    environment = {"IRMSIA_HOME": str(home), "COLUMNS": str(width), "IRMSIA_ENGINE__WORKERS": "1"}
    return CliRunner().invoke(cli.app, ["data", *arguments], env=environment)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_tables_fit_a_terminal(home: Path, name: str, language: str) -> None:
    """80 columns, whatever the labels are called, and nothing in them steers the terminal."""
    result = _run(home, "stats", name, "--language", language)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    if name == "two":
        assert "[bold]x" in result.stdout


def test_json_is_one_object_a_line(home: Path) -> None:
    """All figures and the probe, nothing else on standard output."""
    result = _run(home, "stats", "one", "--json")
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert (told["name"], told["valid"], told["patients"]["known"]) == ("one", 20, 20)
    assert told["balance"]["ratio"] == 1.0
    assert told["source_probe"]["is_confounded"] is False


def test_a_page_and_a_sample_are_written(home: Path, tmp_path: Path) -> None:
    """One option each; a sample without a file to write is wrong usage."""
    assert _run(home, "stats", "one", "--out", str(tmp_path / "p.html"), "--pictures", "2").exit_code == 0
    assert (tmp_path / "p.html").read_text("utf-8").count("data:image") == 2
    assert _run(home, "stats", "one", "--out", str(tmp_path / "s.png"), "--sample", "3").exit_code == 0
    assert (tmp_path / "s.png").exists()
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 4
    assert _run(home, "stats", "one", "--reviewed", str(tmp_path / "s.csv"), "--json").exit_code == 0
    assert "Without a verdict: 3." in _run(home, "stats", "one", "--reviewed", str(tmp_path / "s.csv")).stdout
    assert _run(home, "stats", "one", "--sample", "3").exit_code == 2


def test_a_merge_warns_and_the_probe_fails(home: Path) -> None:
    """The label is told by the source: `merge` says so, `probe` exits with 1; `cite` says what is unknown."""
    merged = _run(home, "merge", "one", "two", "--name", "both")
    assert merged.exit_code == 0, merged.output
    assert "labels come from one source alone" in merged.stdout
    again = _run(home, "merge", "one", "two", "--name", "third", "--copies", "keep", "--json")
    assert json.loads(again.stdout)["source_probe"]["is_confounded"] is True
    assert _run(home, "probe", "both").exit_code == 1
    assert json.loads(_run(home, "probe", "both", "--json").stdout)["sources"] == 2
    assert _run(home, "probe", "one").exit_code == 0
    assert "licence: unknown" in _run(home, "cite", "both").stdout


def test_references_in_three_formats(home: Path) -> None:
    """Text for people, BibTeX for papers, JSON for programs."""
    told = _run(home, "cite", "one", "--licence", "CC BY 4.0", "--citation", "A paper (2019)")
    assert "licence: CC-BY-4.0" in told.stdout
    assert _run(home, "cite", "one", "--format", "bibtex").stdout.startswith("@misc{one_1,")
    for arguments in (("--format", "json"), ("--json",)):
        (line,) = _run(home, "cite", "one", *arguments).stdout.splitlines()
        assert json.loads(line)["references"][0]["year"] == 2019
