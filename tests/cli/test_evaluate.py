"""`irmsia evaluate` on a table: output, files, exit codes, one line where it fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from irmsia.cli import main as cli
from irmsia.evaluation.prediction_table import format_predictions
from tests.evaluation.made import make_images


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """40 predictions."""
    path = tmp_path / "predictions.csv"
    path.write_text(format_predictions(make_images(40)))
    return path


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["irmsia", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_a_table_is_judged_and_the_report_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], table: Path, tmp_path: Path
) -> None:
    """Figures with intervals on standard output, files in the folder, their names on standard error."""
    monkeypatch.setenv("COLUMNS", "100")
    assert _run(monkeypatch, table, "--out", tmp_path / "out", "--page", tmp_path / "page.md") == 0
    out, err = capsys.readouterr()
    assert "brain  40 images of 20 patients or clusters" in out
    assert "sensitivity" in out
    assert "balanced accuracy" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "report-brain.svg", "metrics.json"}
    assert (tmp_path / "page-brain.svg").is_file()
    assert err.count("written: ") == 5
    page = (tmp_path / "page.md").read_text()
    assert "`irmsia evaluate predictions.csv --out out --page page.md`" in page
    assert str(tmp_path) not in page


def test_json_alone_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    """One line, without a NaN."""
    assert _run(monkeypatch, table, "--json") == 0
    [line] = capsys.readouterr().out.splitlines()
    found = json.loads(line, parse_constant=pytest.fail)
    assert found["regions"]["brain"]["by_term"]["glioma"]["AUROC"]["groups"] == 20


def test_output_fits_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    """Tables are not broken over lines."""
    monkeypatch.setenv("COLUMNS", "80")
    _run(monkeypatch, table)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if "[" in line and not line.startswith(("value", "table"))]
    assert len(rows) >= 7
    assert all(len(line) <= 80 and line.count("[") == line.count("]") for line in rows)


@pytest.mark.parametrize("content", ["", "id,group,truth,p_a,p_b\n1,g,Mustermann,0.5,0.5\n", "\0\0"])
def test_a_bad_table_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    """Nothing is written, nothing of the file is repeated."""
    bad = tmp_path / "bad.csv"
    bad.write_text(content)
    assert _run(monkeypatch, bad, "--out", tmp_path / "out") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "INVALID_REQUEST" in err
    assert "Mustermann" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("t.csv", "--data", "d"), 2),
        (("gone.csv",), 1),
        (("--data", "gone", "--bundle", "nobody"), 2),
        (("--data", "gone", "--part", "train"), 2),
    ],
)
def test_wrong_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """Neither a table nor data, both, a table or a bundle that is not there, a part that is none."""
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, *arguments) == code
