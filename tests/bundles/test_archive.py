"""One file is one bundle in one form: what is not exactly that is refused, and nothing is inflated or written."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.bundles.archive import read_archive, write_archive
from irmsia.bundles.read import MAX_FILES, read_folder
from irmsia.errors import BundleRejectedError, NotFoundError

FILES = {"signature.json": b"{}", "manifest.json": b"{ }", "models/a.onnx": bytes(3000), "docs/MODEL_CARD.md": b""}
MIB = 1024 * 1024

Change = Callable[[Path], bytes]


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def _tar(name: str = "manifest.json", kind: bytes = tarfile.REGTYPE, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:  # type: ignore[call-overload]
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    return buffer.getvalue()


def _renamed(old: bytes, new: bytes) -> bytes:
    """The archive with every spelling of one name replaced by another of equal length."""
    return write_archive(FILES).replace(old, new)


def _link() -> bytes:
    member = zipfile.ZipInfo("models/a.onnx")
    member.external_attr = 0o120777 << 16
    return _zip((member, b"/etc/passwd"))


def _claims(size: int) -> bytes:
    data = bytearray(write_archive(FILES))
    struct.pack_into("<2I", data, 18, size, size)
    return bytes(data)


def _million() -> bytes:
    """A directory at the end that speaks of many entries, and many local headers before it."""
    return write_archive({f"{number}.md": b"" for number in range(MAX_FILES)})[:-22] * 40


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "text": b"no archive at all",
    "parent": _renamed(b"models/a.onnx", b"../../../evil"),
    "absolute": _renamed(b"models/a.onnx", b"/etc/evil.onn"),
    "backslash": _renamed(b"models/a.onnx", b"models\\a.onnx"),
    "drive": _renamed(b"models/a.onnx", b"C:/els/a.onnx"),
    "NUL": _renamed(b"models/a.onnx", b"models/a\0onnx"),
    "not UTF-8": _renamed(b"models/a.onnx", b"models/\xff.onnx"),
    "twice": write_archive({"a.md": b"", "b.md": b""}).replace(b"b.md", b"a.md"),
    "case": write_archive({"A.md": b"", "b.md": b""}).replace(b"b.md", b"a.md"),
    "compressed": _zip(("manifest.json", bytes(5000)), method=zipfile.ZIP_DEFLATED),
    "bomb": _zip(("manifest.json", bytes(64 * MIB)), method=zipfile.ZIP_DEFLATED),
    "link": _link(),
    "folder": _zip(("docs/", b"")),
    "other date": _zip(("manifest.json", b"{}")),
    "comment": write_archive(FILES)[:-2] + b"\5\0hello",
    "trailing": write_archive(FILES) + b"x",
    "leading": b"#!/bin/sh\n" + write_archive(FILES),
    "cut": write_archive(FILES)[:-1],
    "no directory": write_archive(FILES)[:3100],
    "huge claim": _claims(0xFFFFFFFF),
    "small claim": _claims(1),
    "many entries": _million(),
    "tar": _tar(),
    "tar link": _tar(kind=tarfile.SYMTYPE),
    "tar hard link": _tar(kind=tarfile.LNKTYPE),
    "tar device": _tar(kind=tarfile.CHRTYPE),
    "tar.gz": _tar(mode="w:gz"),
    "tar.xz": _tar(mode="w:xz"),
    "gzip bomb": zlib.compress(bytes(64 * MIB), 9),
}


def test_round_trip(tmp_path: Path) -> None:
    """What was written is what is read, and any ZIP program opens it; equal files are equal bytes in any order."""
    data = write_archive(FILES)
    assert data == write_archive(dict(sorted(FILES.items())))
    (tmp_path / "a.irmsia.zip").write_bytes(data)
    assert read_archive(tmp_path / "a.irmsia.zip") == FILES
    with zipfile.ZipFile(tmp_path / "a.irmsia.zip") as file:
        assert file.testzip() is None
        assert file.namelist()[:2] == ["manifest.json", "signature.json"]
        assert {name: file.read(name) for name in file.namelist()} == FILES


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_other_file_is_refused(tmp_path: Path, kind: str) -> None:
    """I8 for bundles: paths that leave, links, devices, bombs, forged sizes, many entries, other archives.

    Nothing is written anywhere, little memory is taken, and the message holds no path.
    """
    path = tmp_path / "in" / "a.irmsia.zip"
    path.parent.mkdir()
    path.write_bytes(HOSTILE[kind])
    before = sorted(tmp_path.rglob("*"))
    tracemalloc.start()
    with pytest.raises(BundleRejectedError) as caught:
        read_archive(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(tmp_path.rglob("*")) == before
    assert peak < len(HOSTILE[kind]) + 2 * MIB
    assert str(tmp_path) not in caught.value.message


@given(st.data())
def test_one_flipped_bit_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Wherever it is: in a header, a name, a content, the directory or the end."""
    good = write_archive(FILES)
    place = data.draw(st.integers(0, 8 * len(good) - 1))
    flipped = bytearray(good)
    flipped[place // 8] ^= 1 << place % 8
    path = tmp_path_factory.getbasetemp() / "flipped.irmsia.zip"
    path.write_bytes(flipped)
    with pytest.raises(BundleRejectedError):
        read_archive(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A missing file is NOT_FOUND; a pipe is refused without waiting for its writer, and so is a device."""
    with pytest.raises(NotFoundError):
        read_archive(tmp_path / "gone.irmsia.zip")
    os.mkfifo(tmp_path / "pipe.irmsia.zip")
    for path in (tmp_path / "pipe.irmsia.zip", Path("/dev/zero")):
        with pytest.raises(BundleRejectedError, match="regular file"):
            read_archive(path)


def test_what_no_folder_may_hold_either(folder: Path, tmp_path: Path) -> None:
    """Two names that differ by case alone; a hard link, where the folder is not our own; a folder of many entries."""
    (folder / "GOLDEN.jsonl").write_bytes(b"")
    with pytest.raises(BundleRejectedError, match="case"):
        read_folder(folder)
    (folder / "GOLDEN.jsonl").unlink()
    (tmp_path / "second").hardlink_to(folder / "golden.jsonl")
    assert read_folder(folder)
    with pytest.raises(BundleRejectedError, match="hard link"):
        read_folder(folder, hard_links=False)
    for number in range(200):
        (folder / f"{number}.md").touch()
    with pytest.raises(BundleRejectedError, match="more than"):
        read_folder(folder)
