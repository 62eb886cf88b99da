"""A bundle is written whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia.bundles.load import load_bundle
from irmsia.bundles.pack import remove_leftovers, write_bundle, write_folder
from irmsia.bundles.signing import Trust
from tests.bundles.tiny import make_fields, make_files

_WRITER = """
import sys
from pathlib import Path
from irmsia.bundles.pack import write_folder
parent = Path(sys.argv[1])
content = {f"part{i}/file{i}": bytes([i]) * 40_000 for i in range(12)}
print("go", flush=True)
number = 0
while True:
    write_folder(parent / f"bundle{number}", content)
    write_folder(parent / "same", content, replace=True)
    number += 1
"""


def _tree(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_two_writes_of_the_same_have_the_same_id(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    """The id is the content's: nothing of the time, the place or the machine enters."""
    ids = {write_bundle(tmp_path / name, make_fields(), make_files(), key=key) for name in ("a", "b")}
    assert len(ids) == 1
    assert _tree(tmp_path / "a") == _tree(tmp_path / "b")


def test_an_existing_bundle_is_replaced_only_when_told(folder: Path, key: Ed25519PrivateKey, trust: Trust) -> None:
    """Refused by default; with `replace` the new one stands alone in its place."""
    with pytest.raises(FileExistsError):
        write_bundle(folder, make_fields(version="2.0"), make_files(), key=key)
    assert load_bundle(folder, trust).manifest.version == "1.0"
    write_bundle(folder, make_fields(version="2.0"), make_files(), key=key, replace=True)
    assert load_bundle(folder, trust).manifest.version == "2.0"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC at the k-th write, every k: an error, the old bundle intact, no temporary folder."""
    content = {f"f{number}": b"new" for number in range(4)}
    write_folder(tmp_path / "bundle", {"old": b"old"})
    for fail_at in range(12):
        calls = iter(range(1000))

        def write(descriptor: int, *, calls: object = calls, fail_at: int = fail_at) -> None:
            if next(calls) == fail_at:  # type: ignore[call-overload]
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", write)
            try:
                write_folder(tmp_path / "bundle", content, replace=True)
            except OSError:
                # The last sync comes after the rename: then the new one stands, whole.
                assert _tree(tmp_path / "bundle") in ({"old": 3}, dict.fromkeys(content, 3))
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("delay_ms", [0, 3, 11, 29, 53])
def test_kill_9_leaves_no_half_bundle(tmp_path: Path, delay_ms: int) -> None:
    """A writer killed at any moment: every folder without the temporary mark is whole, and the marks can be swept."""
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == b"go\n"
        # Spread the kill over the writer's steps; any moment is a good one.
        time.sleep(delay_ms / 1000)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    whole = {f"part{i}/file{i}": 40_000 for i in range(12)}
    visible = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert all(_tree(path) == whole for path in visible)
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in visible}


def test_leftovers_of_a_living_writer_stay(tmp_path: Path) -> None:
    """Sweeping beside a writer at work does not pull its folder away."""
    mine = tmp_path / f".bundle.{os.getpid()}.abcdef.tmp"
    mine.mkdir()
    (tmp_path / ".other.tmp").mkdir()
    remove_leftovers(tmp_path)
    assert mine.is_dir()


_LOOKER = """
import os, sys
seen = missing = 0
print("go", flush=True)
while not os.path.exists(sys.argv[2]):
    seen += 1
    missing += not os.path.exists(sys.argv[1])
print(seen, missing)
"""


def test_while_it_is_replaced_a_bundle_is_always_there(tmp_path: Path) -> None:
    """Another process that never stops looking sees the folder at every look, the old one or the new one, whole."""
    folder, stop = tmp_path / "bundle", tmp_path / "stop"
    write_folder(folder, {"one": b"1"})
    command = [sys.executable, "-c", _LOOKER, str(folder / "one"), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looker:
        assert looker.stdout is not None
        assert looker.stdout.readline() == "go\n"
        for number in range(40):
            write_folder(folder, {"one": b"%d" % number}, replace=True)
        stop.touch()
        seen, missing = map(int, looker.stdout.read().split())
    assert seen > 0
    assert missing == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_no_step_of_a_replacement_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every rename that the writer makes, the folder is there."""
    folder = tmp_path / "bundle"
    write_folder(folder, {"one": b"1"})
    there = []

    def watched(name: str, real: Callable[..., object]) -> None:
        def call(*arguments: object, **options: object) -> object:
            result = real(*arguments, **options)
            there.append(folder.is_dir())
            return result

        monkeypatch.setattr(os, name, call)

    for name in ("rename", "replace"):
        watched(name, getattr(os, name))
    write_folder(folder, {"one": b"2"}, replace=True)
    assert there and all(there)
    assert (folder / "one").read_bytes() == b"2"


def test_a_system_that_cannot_exchange_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and nothing is left behind; nobody falls back on a moment without any bundle."""
    write_folder(tmp_path / "bundle", {"one": b"1"})
    monkeypatch.setattr("irmsia.durable.sys.platform", "elsewhere")
    with pytest.raises(OSError, match="not supported"):
        write_folder(tmp_path / "bundle", {"one": b"2"}, replace=True)
    assert _tree(tmp_path) == {"bundle/one": 1}
