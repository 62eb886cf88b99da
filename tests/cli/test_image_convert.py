"""`irmsia image convert` as a person types it: its lines, its JSON, its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from irmsia.cli import main as cli
from tests.imaging.slices import series


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two series in one folder, the second one uneven."""
    (tmp_path / "in").mkdir()
    for name, heights, uid in (("a", [0, 2, 4], "2.25.3"), ("b", [0, 2, 5], "2.25.99")):
        for number, data in enumerate(series(heights, SeriesInstanceUID=uid)):
            (tmp_path / "in" / f"{name}{number}.dcm").write_bytes(data)
    return tmp_path


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["irmsia", "image", "convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_a_folder_becomes_one_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several series are listed and exit 2; one that is named is written, as a card or one JSON object."""
    out = folder / "head.nii.gz"
    assert _run(monkeypatch, folder / "in", "--out", out) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--series 2.25.3: CT, 4 x 5 int16, 3 slices, axial" in told.err
    assert not out.exists()
    assert _run(monkeypatch, folder / "in", "--out", out, "--json") == 2
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["series_instance_uid"] for row in listed] == ["2.25.3", "2.25.99"]
    assert _run(monkeypatch, folder / "in", "--out", out, "--series", "2.25.3", "--json") == 0
    told = capsys.readouterr()
    [written] = [json.loads(line) for line in told.out.splitlines()]
    assert (written["shape"], written["spacing_mm"], written["read_again"]) == ([3, 4, 5, 1], [2.0, 2.0, 3.0], "equal")
    assert written["affine"][2] == [2.0, 0.0, 0.0, 0.0]
    assert len(written["frame_sha256"]) == 3
    assert out.is_file()


def test_uneven_slices(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with the reason; with the option the places of all slices are told, and no affine."""
    uneven = (folder / "in", "--out", folder / "x.nii", "--series", "2.25.99")
    assert _run(monkeypatch, *uneven) == 2
    assert "2.000 to 3.000 mm apart" in capsys.readouterr().err
    assert _run(monkeypatch, *uneven, "--allow-uneven", "--json") == 0
    written = json.loads(capsys.readouterr().out)
    assert written["affine"] is None
    assert [origin[2] for origin in written["slice_origins_mm"]] == [0.0, 2.0, 5.0]
    assert written["notices"][0]["code"] == "UNEVEN_SPACING"
    assert _run(monkeypatch, *uneven, "--allow-uneven") == 0
    told = capsys.readouterr()
    assert "read again" in told.out
    assert "UNEVEN_SPACING" in told.err


def test_a_frame_becomes_a_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signed values are no PNG, exit 1 and what to do; as seen they are."""
    one = folder / "in" / "a0.dcm"
    assert _run(monkeypatch, one, "--out", folder / "x.png") == 1
    err = capsys.readouterr().err
    assert "UNSUPPORTED" in err
    assert "--window" in err
    assert _run(monkeypatch, one, "--out", folder / "x.png", "--window", "--json") == 0
    assert json.loads(capsys.readouterr().out)["dtype"] == "uint8"


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.dcm", "--out", "x.mha"),
        ("a.dcm", "--out", "x.png", "--series", "1.2"),
        ("a.dcm", "--out", "x.nii", "--window"),
        ("a.dcm", "--out", "x.nii", "--frame", "0"),
        ("a.dcm", "b.dcm", "--out", "x.png"),
        ("a.dcm",),
    ],
)
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Exit 2 before any file is looked at."""
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, *arguments) == 2
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1; a line of its own says which file."""
    (folder / "in" / "a1.dcm").write_bytes((folder / "in" / "a1.dcm").read_bytes()[:-30])
    assert _run(monkeypatch, folder / "in", "--out", folder / "x.nii", "--series", "2.25.3") == 1
    assert "in " + str(folder / "in" / "a1.dcm") in capsys.readouterr().err.replace("\n", "")
    assert not (folder / "x.nii").exists()
