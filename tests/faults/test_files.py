"""F7: where a file is written or read the k-th call fails, for every k. Typed, whole, nothing left, and it heals."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from irmsia import durable
from irmsia.app.compose import open_pool
from irmsia.app.diagnose import write_maps
from irmsia.bundles.pack import write_folder
from irmsia.bundles.signing import machine_key
from irmsia.bundles.store import BundleStore
from irmsia.datasets.opening import record_opening
from irmsia.errors import IrmsiaError, NotReadableError, OverloadedError, StorageFullError, from_system
from irmsia.findings.types import Diagnosis, Evidence, Explanation, GridToImage
from irmsia.imaging.decode_input import open_input
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import qa_set
from irmsia.imaging.pseudonym import load_or_create_key
from irmsia.imaging.render import write_png
from irmsia.server.run_file import RunningServer, list_running, process_mark, write_run_file
from irmsia.settings.tree import Settings
from irmsia.wire.errors import http_status
from tests.bundles.tiny import make_fields, make_files
from tests.faults.failing import ERRORS, each_call, temporary_files

ROOM = (OSError, MemoryError, IrmsiaError)
"""What a room may raise; the doors make a leaf of it (`irmsia.errors.from_system`)."""

OLD, NEW = b"old" * 1000, b"new" * 2000


@dataclass(frozen=True)
class Write:
    """One operation on ``folder`` and what must hold after it, done or not."""

    run: Callable[[Path], object]
    holds: Callable[[Path], bool]
    prepare: Callable[[Path], object] = lambda folder: None


def _old_or_new(folder: Path) -> bool:
    return (folder / "file").read_bytes() in {OLD, NEW}


def _absent_or_new(folder: Path) -> bool:
    path = folder / "file"
    return not path.exists() or path.read_bytes() == NEW


THIS = RunningServer(os.getpid(), "127.0.0.1", 1, None, "1", process_mark(os.getpid()) or "")


def _run_file_holds(folder: Path) -> bool:
    written = list((folder / "run").glob("*.json")) if (folder / "run").exists() else []
    return len(list_running(folder)) == len(written)


def _opening(folder: Path) -> int:
    return record_opening(folder / "seal.jsonl", sealed_digest="0" * 64, bundle="1" * 64, when="2026-01-01T00:00:00Z")


def _chain_holds(folder: Path) -> bool:
    lines = (folder / "seal.jsonl").read_text().splitlines()
    return len(lines) >= 1 and all(json.loads(line)["when"] for line in lines)


CONTENT = {"manifest.json": b"{}", "models/model.onnx": OLD, "docs/card.md": NEW}


def _folder_holds(folder: Path) -> bool:
    bundle = folder / "bundle"
    files = {str(path.relative_to(bundle)): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    return files in ({}, CONTENT)


def _bundle(folder: Path) -> None:
    if not (folder / "bundle").exists():
        write_folder(folder / "bundle", CONTENT)


def _map(folder: Path) -> object:
    grid, cells = GridToImage(0, 0, 1, 1), np.ones(4, "<f4").tobytes()
    shown = Explanation("contribution", "pneumonia", 0, (2, 2), grid, cells, b"png")
    return write_maps(folder / "maps", Diagnosis(input="a.dcm", evidence=Evidence(), explanation=shown))


def _maps_hold(folder: Path) -> bool:
    return all(path.stat().st_size in (3, 144) for path in (folder / "maps").glob("*"))


def _machine_key_holds(folder: Path) -> bool:
    private = folder / "private" / "machine.pem"
    return not private.exists() or (private.stat().st_mode & 0o777 == 0o600 and private.stat().st_size > 100)


def _pseudonym_key_holds(folder: Path) -> bool:
    key = folder / "pseudonym.key"
    return not key.exists() or (key.stat().st_size == 32 and key.stat().st_mode & 0o777 == 0o600)


def _pool(folder: Path) -> None:
    with open_pool(Settings(home=folder / "home"), 1):
        pass


WRITES: dict[str, Write] = {
    "replace a file": Write(
        lambda folder: durable.write_bytes(folder / "file", NEW),
        _old_or_new,
        lambda folder: (folder / "file").write_bytes(OLD),
    ),
    "replace a file once it was checked": Write(
        lambda folder: durable.write_parts(folder / "file", (NEW,), check=lambda path: path.read_bytes()),
        _old_or_new,
        lambda folder: (folder / "file").write_bytes(OLD),
    ),
    "create a file": Write(lambda folder: durable.create_bytes(folder / "file", NEW), _absent_or_new),
    "run file": Write(lambda folder: write_run_file(folder, THIS), _run_file_holds),
    "log of openings": Write(_opening, _chain_holds, _opening),
    "bundle folder": Write(_bundle, _folder_holds),
    "map files": Write(_map, _maps_hold),
    "picture": Write(
        lambda folder: write_png(folder / "a.png", np.zeros((9, 9), np.uint8)),
        lambda folder: all(path.read_bytes().endswith(b"IEND\xaeB`\x82") for path in folder.glob("*.png")),
    ),
    "machine key": Write(machine_key, _machine_key_holds),
    "pseudonym key": Write(load_or_create_key, _pseudonym_key_holds),
    "home of the settings": Write(_pool, lambda folder: _pseudonym_key_holds(folder / "home")),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", WRITES)
def test_writing(name: str, error: str, tmp_path: Path) -> None:
    """Old or new and whole, no temporary file, and the next try works in the same process."""
    write = WRITES[name]
    raised = 0
    for fault in _faults_of(write, error, tmp_path):
        assert fault.error is None or isinstance(fault.error, ROOM), fault.error
        raised += fault.error is not None
        assert write.holds(fault.folder), fault.number
        assert temporary_files(fault.folder) == [], fault.number
        write.run(fault.folder)  # it heals
        assert write.holds(fault.folder)
    assert raised >= 3


@dataclass(frozen=True)
class _Fault:
    number: int
    folder: Path
    error: BaseException | None


def _faults_of(write: Write, error: str, root: Path) -> list[_Fault]:
    """Every run of ``write`` with one failing call, each in a folder of its own that was prepared before."""
    folders: list[Path] = []

    def fresh() -> Path:
        folder = root / str(len(folders))
        folder.mkdir()
        write.prepare(folder)
        folders.append(folder)
        return folder

    waiting = [fresh()]
    faults = []
    for number, raised in enumerate(each_call(ERRORS[error], lambda: write.run(waiting[-1])), 1):
        faults.append(_Fault(number, waiting[-1], raised))
        waiting.append(fresh())
    return faults


@pytest.mark.parametrize("error", ERRORS)
def test_loading_a_model(error: str, tmp_path: Path) -> None:
    """A bundle that cannot be read now is told so; the next try, without a restart, loads it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    store = BundleStore(home, starter=tmp_path / "none")
    identity = store.add(make_fields(), make_files(), machine_key(home))
    store.activate(identity)
    raised = [error for error in each_call(ERRORS[error], store.load) if error is not None]
    assert len(raised) > 10
    assert all(isinstance(one, ROOM) for one in raised)
    assert store.load().id == identity


@pytest.mark.parametrize("error", ERRORS)
def test_reading_an_image(error: str, tmp_path: Path) -> None:
    """In this process nothing of an image is read but its descriptor: the k-th call that fails is a typed error."""
    path = tmp_path / "a.dcm"
    path.write_bytes(qa_set()[0].data)

    def read() -> int:
        with open_input(path, ReadLimits()) as given:
            return len(given.digest())

    raised = [error for error in each_call(ERRORS[error], read) if error is not None]
    assert len(raised) >= 2
    assert all(isinstance(one, IrmsiaError | MemoryError) for one in raised)
    assert read() == 64


def test_the_home_on_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    """ENOSPC while the home is made: STORAGE_FULL; no descriptors: OVERLOADED; a broken disk: the place's own code."""
    codes = {}
    places = (tmp_path / str(number) for number in range(1000))
    for name in ERRORS:
        faults = each_call(ERRORS[name], lambda: _pool(next(places)))
        codes[name] = {
            error.code if isinstance(error, IrmsiaError) else type(error).__name__ for error in faults if error
        }
    assert codes["ENOSPC"] == {"STORAGE_FULL"}
    assert codes["EMFILE"] == codes["MemoryError"] == {"OVERLOADED"}
    assert codes["EIO"] <= {"INVALID_REQUEST", "UNSAFE_SETTINGS"}


def test_what_the_system_says_becomes_a_leaf() -> None:
    """A full disk is STORAGE_FULL, a lack that passes OVERLOADED, the rest the place's; no path in any message."""
    told = {
        number: from_system(OSError(number, "x", "/home/doe/secret"), "it failed", NotReadableError)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
    }
    assert [error.code for error in told.values()] == 3 * ["STORAGE_FULL"] + 3 * ["OVERLOADED"] + ["NOT_READABLE"]
    assert all("doe" not in error.message and error.message.startswith("it failed: ") for error in told.values())
    assert from_system(MemoryError(), "it failed").code == OverloadedError.code
    assert from_system(OSError("odd"), "it failed").code == "INTERNAL"
    assert http_status(StorageFullError("")) == 507
