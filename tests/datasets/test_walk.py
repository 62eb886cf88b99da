"""Walking a folder: what counts as a file of a dataset, and what is left out and told."""

import os
from pathlib import Path

import pytest

from irmsia.datasets.walk import (
    CLOSED,
    DICOMDIR,
    HIDDEN,
    LINK,
    MOST_PATH,
    NO_TEXT,
    SPECIAL,
    SYSTEM,
    TOO_LONG,
    walk_tree,
)
from irmsia.errors import NotFoundError


def _fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_files_come_sorted_with_their_stamps(tmp_path: Path) -> None:
    """Paths are below the root, with forward slashes, in order; stamps are what the file system says."""
    _fill(tmp_path, "b/2.png", "b/10.png", "a.png", "b/c/x.dcm", "é/ü.png")
    walked = walk_tree(tmp_path)
    assert list(walked.files) == ["a.png", "b/10.png", "b/2.png", "b/c/x.dcm", "é/ü.png"]
    status = (tmp_path / "b/c/x.dcm").stat()
    assert walked.files["b/c/x.dcm"] == (status.st_size, status.st_mtime_ns)
    assert not walked.skipped
    assert not walked.closed


def test_hidden_and_system_files_are_left_out_and_counted(tmp_path: Path) -> None:
    """A folder that is left out counts once. An index of DICOM media is told apart from images."""
    _fill(tmp_path, "a.png", ".DS_Store", ".git/config", "Thumbs.db", "x/desktop.ini", "__MACOSX/a.png", "DICOMDIR")
    walked = walk_tree(tmp_path)
    assert list(walked.files) == ["a.png"]
    assert walked.skipped == {HIDDEN: 2, SYSTEM: 3, DICOMDIR: 1}


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Nothing outside the root is read, nothing twice, and a loop ends: links are counted only."""
    _fill(tmp_path, "outside/secret.png", "root/a.png", "root/sub/b.png")
    root = tmp_path / "root"
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "sub/up").symlink_to("..", target_is_directory=True)
    (root / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "file.png").symlink_to(tmp_path / "outside/secret.png")
    (root / "dangling.png").symlink_to("nowhere")
    walked = walk_tree(root)
    assert list(walked.files) == ["a.png", "sub/b.png"]
    assert walked.skipped == {LINK: 5}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    """A folder that was named is walked, by whatever name."""
    _fill(tmp_path, "real/a.png")
    (tmp_path / "named").symlink_to("real", target_is_directory=True)
    assert list(walk_tree(tmp_path / "named").files) == ["a.png"]


def test_pipes_and_names_that_cannot_be_kept_are_counted(tmp_path: Path) -> None:
    """What cannot be a sample in any catalogue is told, and never opened."""
    _fill(tmp_path, "a.png", "line\nbreak.png")
    os.mkfifo(tmp_path / "pipe.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")).write_bytes(b"")
    walked = walk_tree(tmp_path)
    assert list(walked.files) == ["a.png"]
    assert walked.skipped == {SPECIAL: 1, NO_TEXT: 2}


def test_paths_have_an_end(tmp_path: Path) -> None:
    """A path longer than a catalogue takes is counted; one that just fits is there."""
    below = "/".join(["d" * 199] * 9)  # 1,799 bytes and a slash: room for 200 more
    (tmp_path / below).mkdir(parents=True)
    descriptor = os.open(tmp_path / below, os.O_RDONLY)
    try:
        for name in ("x" * 200, "y" * 201, "é" * 100, "ü" * 101):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    finally:
        os.close(descriptor)
    walked = walk_tree(tmp_path)
    assert [len(path.encode()) for path in walked.files] == [MOST_PATH, MOST_PATH]
    assert walked.skipped == {TOO_LONG: 2}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    """Its files are not gone, nobody knows: the walk says which folder it was. The superuser may list all."""
    _fill(tmp_path, "a.png", "shut/b.png")
    (tmp_path / "shut").chmod(0)
    try:
        walked = walk_tree(tmp_path)
    finally:
        (tmp_path / "shut").chmod(0o700)
    if os.geteuid() == 0:
        assert list(walked.files) == ["a.png", "shut/b.png"]
    else:
        assert (list(walked.files), walked.closed, walked.skipped) == (["a.png"], ["shut/"], {CLOSED: 1})


def test_what_is_no_folder_is_a_typed_error(tmp_path: Path) -> None:
    """Neither a missing folder nor a file is walked."""
    _fill(tmp_path, "a.png")
    for path in (tmp_path / "none", tmp_path / "a.png", tmp_path / "nul\0"):
        with pytest.raises(NotFoundError):
            walk_tree(path)
