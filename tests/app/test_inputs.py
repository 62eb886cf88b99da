"""Paths become files in the order of contract section 4."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.app.inputs import InputFile, Skipped, list_inputs

FILES = ("b/2.dcm", "b/10.dcm", "a.png", "a_mask.png", "c_mask_1.png", ".hidden", ".git/config", "b/.x.dcm", "z.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, masks and hidden files."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_directory_is_sorted_by_path_without_hidden_files_and_masks(folder: Path) -> None:
    """What is left out is counted by kind."""
    skipped = Skipped()
    files = list_inputs([str(folder)], skipped)
    assert [file.path.relative_to(folder).as_posix() for file in files] == ["a.png", "b/10.dcm", "b/2.dcm", "z.txt"]
    assert all(file.walked for file in files)
    assert not any(skipped.takes(file, None) for file in files)
    assert skipped.sentence() == "skipped 5 files: 3 hidden, 2 mask"


def test_a_file_named_is_kept_whatever_it_is_called(folder: Path) -> None:
    """Masks, hidden and missing files are answered or failed when they are named; the given order stays."""
    names = [str(folder / name) for name in ("z.txt", "a_mask.png", ".hidden", "missing")]
    files = list_inputs(names, skipped := Skipped())
    assert [file.name for file in files] == names
    assert not any(file.walked for file in files)
    assert not any(skipped.takes(file, "NOT_AN_IMAGE") for file in files)
    assert skipped.sentence() is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "found no image"),
        (("a_mask.png", "notes.txt"), "found no image; skipped 2 files: 1 mask, 1 not an image"),
    ],
)
def test_a_folder_without_images_says_so(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    """Nothing printed at all would look like a command that did not run."""
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    files = list_inputs([str(tmp_path)], skipped := Skipped())
    assert all(skipped.takes(file, "NOT_AN_IMAGE") for file in files)
    assert skipped.sentence() == said


def test_a_name_that_the_system_does_not_take_is_kept(tmp_path: Path) -> None:
    """It fails as one input, whose error says why, and takes no other with it."""
    names = [str(tmp_path / ("a" * 5000)), "nul\0byte"]
    assert [file.name for file in list_inputs(names, Skipped())] == names


def test_only_walked_files_are_skipped_for_being_no_image(folder: Path) -> None:
    """NOT_AN_IMAGE and NO_PIXEL_DATA are skipped in a walk; every other error, and every named file, fails."""
    skipped = Skipped()
    walked = InputFile("a", folder / "a", walked=True)
    assert skipped.takes(walked, "NOT_AN_IMAGE")
    assert skipped.takes(walked, "NO_PIXEL_DATA")
    assert not skipped.takes(walked, "TRUNCATED")
    assert not skipped.takes(walked, None)
    assert not skipped.takes(InputFile("a", folder / "a"), "NOT_AN_IMAGE")
    assert skipped.sentence() == "skipped 2 files: 1 not an image, 1 without pixels"


def test_pipes_and_loops_are_not_followed(tmp_path: Path) -> None:
    """A walk opens regular files only and never goes round in a circle."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    files = list_inputs([str(tmp_path)], skipped := Skipped())
    assert files == []
    assert skipped.counts["not a regular file"] >= 2


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_every_name_can_go_over_every_wire(name: bytes) -> None:
    """A file name that is no UTF-8 still makes an input that encodes."""
    [file] = list_inputs([os.fsdecode(b"/nonexistent/" + name)], Skipped())
    file.name.encode("utf-8")
