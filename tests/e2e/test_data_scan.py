"""`irmsia data scan`, as people type it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from irmsia.app.datasets import open_catalogue
from irmsia.settings.tree import Settings
from tests.e2e.conftest import Platform
from tests.imaging.samples import gradient, make_dataset, picture, write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, a misspelt one, a DICOM file, a broken one, a note."""
    folder = tmp_path / "images"
    for index, name in enumerate(("normal/1.png", "normal/2.png", "begin/3.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(gradient(24 + index, 32), "PNG"))
    dataset = make_dataset(np.arange(32 * 32, dtype=np.uint16).reshape(1, 32, 32, 1), PatientID="4711", Modality="MR")
    (folder / "normal/4.dcm").write_bytes(write(dataset))
    (folder / "normal/5.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("nothing")
    return folder


def test_a_scan_prints_what_it_found(platform: Platform, images: Path) -> None:
    """For people: counts by label, format, modality and problem, and which name counts as which class."""
    told = platform.run_here("data", "scan", images, "--name", "people")
    assert told.returncode == 0
    for piece in ("people, revision 1: 6 files: 5 read, 1 no image", "4 samples", "TRUNCATED", "normal", "MRI"):
        assert piece in told.stdout
    assert "begin counts as benign" in told.stderr
    again = platform.run_here("data", "scan", images, "--name", "people")
    assert "0 read, 5 unchanged" in again.stdout


def test_a_scan_as_json_is_one_object(platform: Platform, images: Path) -> None:
    """Alone on standard output, with the state's id; no name or id of a patient anywhere."""
    told = platform.run_here("data", "scan", images, "--name", "program", "--json")
    (line,) = told.stdout.splitlines()
    report = json.loads(line)
    assert report["dataset"]["name"] == "program"
    assert len(report["dataset"]["state"]) == 64
    assert report["tally"]["labels"] == {"normal": 3, "benign": 1}
    assert report["tally"]["problems"] == {"TRUNCATED": 1}
    assert report["aliases"] == {"begin": "benign"}
    assert "4711" not in told.stdout + told.stderr


def test_a_look_at_headers_keeps_nothing(platform: Platform, images: Path) -> None:
    """One object a file, nothing in the catalogue; for people the counts."""
    told = platform.run_here("data", "scan", images, "--headers", "--json")
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [line["path"] for line in lines] == [
        "begin/3.png", "normal/1.png", "normal/2.png", "normal/4.dcm", "normal/5.png",
    ]  # fmt: skip
    assert lines[3]["modality"]["value"] == "MRI"
    assert all(line["pixels_sha256"] is None for line in lines)
    people = platform.run_here("data", "scan", images, "--headers")
    assert "5 files, 1 patients, 1 studies, 1 series" in people.stdout
    assert "left out: 1 not an image" in people.stderr


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ((), 2, "--name"),
        (("--name", "../x"), 2, "name"),
        (("--name", "x", "--patient-pattern", "("), 2, "regular expression"),
        (("--name", "x", "--labels", "/nowhere.csv"), 2, "label file"),
    ],
)
def test_wrong_usage(platform: Platform, images: Path, options: tuple[str, ...], code: int, says: str) -> None:
    """One line that says what to do, nothing on standard output, and no dataset is made."""
    told = platform.run_here("data", "scan", images, *options)
    assert (told.returncode, told.stdout) == (code, "")
    assert says in told.stderr
    assert len(told.stderr.splitlines()) == 1
    with open_catalogue(Settings(home=platform.home)) as catalogue:
        assert "x" not in {dataset.name for dataset in catalogue.list()}


def test_a_folder_that_is_not_there(platform: Platform, tmp_path: Path) -> None:
    """Is exit code 1, and makes no dataset."""
    told = platform.run_here("data", "scan", tmp_path / "none", "--name", "none")
    assert (told.returncode, told.stdout) == (1, "")
    assert "there is no such folder (NOT_FOUND)" in told.stderr


def test_ctrl_c_says_that_nothing_is_lost(platform: Platform, tmp_path: Path) -> None:
    """Exit code 130, one line, and the same command goes on."""
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(600):
        (folder / f"{index}.png").write_bytes(picture(gradient(24 + index % 50, 32 + index // 50), "PNG"))
    process = platform.start("data", "scan", folder, "--name", "many")
    journal = platform.home / "scans" / "many.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 60:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "what was read is kept" in err
    told = platform.run_here("data", "scan", folder, "--name", "many", "--json")
    report = json.loads(told.stdout)
    assert report["resumed"] >= 59
    assert report["resumed"] + report["read"] == report["tally"]["samples"] == 600
