"""I8: what an archive holds comes out right, or nothing does; never anything outside, never more than allowed."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.datasets.collect.archive_names import ArchiveLimits
from irmsia.datasets.collect.extract import ArchiveKind, count_files, recognise, unpack
from irmsia.errors import IrmsiaError, LimitExceededError
from tests.collect.hostile_archives import HOSTILE, LIMITS, Entry, make_tar, make_zip
from tests.collect.unpacking import rejections
from tests.collect.wanting import digest, tree

_PART = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/\\:"), min_size=1, max_size=12
)
_NAME = st.lists(_PART.filter(lambda part: part.strip(".") != ""), min_size=1, max_size=4).map("/".join)
_TREE = st.dictionaries(_NAME, st.binary(max_size=3000), min_size=1, max_size=8)


def test_hostile_archives_are_refused_and_nothing_is_left_or_changed(tmp_path: Path) -> None:
    """Every archive of the table ends in its typed error; the tree around it is hashed before and after."""
    assert len(HOSTILE) >= 60
    found = rejections(HOSTILE, tmp_path)
    assert found.wrong == {}
    assert found.changed == []


def is_possible(files: dict[str, bytes]) -> bool:
    """Whether a folder can hold these names, capitals and composition not counted."""
    names = [name.split("/") for name in files]
    folders = {(_folded(parts[:at]), "/".join(parts[:at])) for parts in names for at in range(1, len(parts))}
    folded = {_folded(parts) for parts in names}
    return (
        len(folded) == len(files)
        and folded.isdisjoint(folder for folder, _ in folders)
        and len({folder for folder, _ in folders}) == len(folders)
        and all(len(part.encode()) <= 255 for parts in names for part in parts)
    )


def _folded(parts: list[str]) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", "/".join(parts)).casefold())


def write_zip(files: dict[str, bytes], form: int) -> bytes:
    """By the standard library; streamed (sizes after the data) where ``form`` is odd."""
    buffer = io.BytesIO()
    stream = _Unseekable(buffer) if form % 2 else buffer
    with zipfile.ZipFile(stream, "w", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[form // 2 % 2]) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class _Unseekable(io.RawIOBase):
    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._file.write(data)


@settings(max_examples=40, deadline=None)
@given(_TREE.filter(is_possible), st.integers(0, 3))
def test_what_zipfile_writes_comes_out_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], form: int
) -> None:
    """Law: write by the standard library, unpack by ours: the same names and bytes."""
    assert_unpacks(tmp_path_factory.mktemp("zip"), write_zip(files, form), files)


@settings(max_examples=40, deadline=None)
@given(
    _TREE.filter(is_possible),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.booleans(),
)
def test_what_tarfile_writes_comes_out_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], form: int, packed: bool
) -> None:
    """Law: the same of TAR in its three forms, plain and gzipped."""
    data = make_tar([(name, content, {}) for name, content in files.items()], form)
    assert_unpacks(tmp_path_factory.mktemp("tar"), gzip.compress(data) if packed else data, files)


def assert_unpacks(folder: Path, data: bytes, files: dict[str, bytes]) -> None:
    """These files and no others come out."""
    (folder / "archive").write_bytes(data)
    made = unpack(folder / "archive", folder / "out", LIMITS)
    assert tree(folder / "out") == {name: digest(content) for name, content in files.items()}
    assert (made.files, made.bytes) == (len(files), sum(map(len, files.values())))
    assert count_files(folder / "archive", LIMITS) == len(files)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_archives_are_typed_or_right(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Law: whatever bytes are changed, dropped or added, it is a typed error or nothing was lost."""
    files = {"a/b.bin": b"x" * 700, "c.bin": bytes(range(256)) * 3, "d/e/f": b""}
    whole = data.draw(
        st.sampled_from([write_zip(files, 0), write_zip(files, 3), make_tar([(n, c, {}) for n, c in files.items()])])
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.integers(0, 8))
    put = data.draw(st.binary(max_size=8))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "archive").write_bytes(whole[:at] + put + whole[at + cut :])
    (folder / "outside").write_bytes(b"precious")
    try:
        unpack(folder / "archive", folder / "out", LIMITS)
    except IrmsiaError:
        assert not (folder / "out").exists()
    assert (folder / "outside").read_bytes() == b"precious"
    assert {path.name for path in folder.iterdir()} <= {"archive", "outside", "out"}


def test_a_gzipped_file_loses_its_suffix(tmp_path: Path) -> None:
    """GZ alone is one file; the name inside it is not believed."""
    with gzip.GzipFile(tmp_path / "x.csv.gz", "wb") as file:
        file.write(b"hello")
    assert recognise(tmp_path / "x.csv.gz") is ArchiveKind.GZ
    unpack(tmp_path / "x.csv.gz", tmp_path / "out", LIMITS)
    assert tree(tmp_path / "out") == {"x.csv": digest(b"hello")}


def test_several_gzip_streams_are_one_file(tmp_path: Path) -> None:
    """RFC 1952 section 2.2, as pigz and bgzip write; zeros after the last one are padding."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"ab") + gzip.compress(b"cd") + bytes(100))
    unpack(tmp_path / "x.gz", tmp_path / "out", LIMITS)
    assert (tmp_path / "out" / "x").read_bytes() == b"abcd"


def test_modes_and_owners_are_not_taken_over(tmp_path: Path) -> None:
    """No program, no setuid, no file that its owner cannot read."""
    (tmp_path / "a.tar").write_bytes(make_tar([("a", b"x", {"mode": 0o6777}), ("b", b"x", {"mode": 0})]))
    unpack(tmp_path / "a.tar", tmp_path / "out", LIMITS)
    assert {path.stat().st_mode & 0o7133 for path in (tmp_path / "out").iterdir()} == {0}


def test_leftovers_of_a_killed_unpacking_are_removed(tmp_path: Path) -> None:
    """The folder is made anew."""
    (tmp_path / "a.zip").write_bytes(make_zip([Entry(b"a")]))
    (tmp_path / "out" / "old").mkdir(parents=True)
    (tmp_path / "out" / "link").symlink_to("/etc")
    unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)
    assert set(tree(tmp_path / "out")) == {"a"}


def test_many_entries_take_little_memory(tmp_path: Path) -> None:
    """10,000 entries are judged in less than 8 MB, and one more than allowed is refused before any is written."""
    data = make_zip([Entry(b"%d" % number, b"") for number in range(10_000)])
    (tmp_path / "a.zip").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(LimitExceededError):
        unpack(tmp_path / "a.zip", tmp_path / "out", ArchiveLimits(1 << 30, 9_999, 200.0))
    count_files(tmp_path / "a.zip", ArchiveLimits(1 << 30, 10_000, 200.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
