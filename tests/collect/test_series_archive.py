from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from irmsia.datasets.collect.archive_names import ArchiveLimits
from irmsia.datasets.collect.series import has_licence, plain_name
from irmsia.datasets.collect.series_archive import check_series_archive, limits_of, most_packed
from irmsia.errors import (
    ArchiveRejectedError,
    ChecksumMismatchError,
    IrmsiaError,
    LimitExceededError,
    SourceFailedError,
    TruncatedError,
)

LIMITS = ArchiveLimits(bytes=1_000_000, entries=100, ratio=200.0)
FILES = {"00000001.dcm": b"a" * 500, "00000002.dcm": b"b" * 700}


def _table(files: dict[str, bytes]) -> bytes:
    lines = [f"{name},{hashlib.md5(data).hexdigest().upper()}" for name, data in files.items()]
    return "\n".join(["Filename,MD5Hash", *lines]).encode() + b"\n"


def _archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "series.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_whole_series_passes(tmp_path: Path) -> None:
    """All files, each as its MD5 says, in either case; also where nobody knows how many there should be."""
    path = _archive(tmp_path, FILES | {"md5hashes.csv": _table(FILES)})
    for images in (2, None):
        check_series_archive(path, images=images, limits=LIMITS)


def test_digests_that_nbia_does_not_know_are_not_held_against_it(tmp_path: Path) -> None:
    """Without an MD5 a file is only counted; one that lost its leading zeros is read as it was meant."""
    number = next(
        number for number in range(1000) if hashlib.md5(bytes([number % 256, number // 256])).hexdigest()[0] == "0"
    )
    data = bytes([number % 256, number // 256])
    short = hashlib.md5(data).hexdigest().lstrip("0")
    table = f'Filename,MD5Hash\n"2.dcm",null\n"1.dcm","{short}"\n3.dcm,\n'.encode()
    path = _archive(tmp_path, {"1.dcm": data, "2.dcm": b"b", "3.dcm": b"c", "md5hashes.csv": table})
    check_series_archive(path, images=3, limits=LIMITS)


WRONG: dict[str, tuple[dict[str, bytes], type[IrmsiaError]]] = {
    "fewer": ({"00000001.dcm": FILES["00000001.dcm"], "md5hashes.csv": _table(FILES)}, TruncatedError),
    "no table": (FILES, TruncatedError),
    "more": (FILES | {"3.dcm": b"", "md5hashes.csv": _table(FILES | {"3.dcm": b""})}, ArchiveRejectedError),
    "another": (FILES | {"md5hashes.csv": _table({"1.dcm": b"", "2.dcm": b""})}, ArchiveRejectedError),
    "changed": (FILES | {"md5hashes.csv": _table(FILES | {"00000001.dcm": b""})}, ChecksumMismatchError),
    "table of nothing": (FILES | {"md5hashes.csv": b""}, ArchiveRejectedError),
    "table of words": (FILES | {"md5hashes.csv": b"Filename,MD5Hash\n00000001.dcm,0xff\n"}, ArchiveRejectedError),
    "outside": (FILES | {"../x": b"", "md5hashes.csv": _table(FILES)}, ArchiveRejectedError),
    "larger": (FILES | {"3.dcm": b"0" * 2_000_000, "md5hashes.csv": _table(FILES)}, LimitExceededError),
}


@pytest.mark.parametrize(("files", "error"), WRONG.values(), ids=WRONG)
def test_what_is_not_the_series_is_refused(tmp_path: Path, files: dict[str, bytes], error: type[IrmsiaError]) -> None:
    """Each lie has its error."""
    with pytest.raises(error):
        check_series_archive(_archive(tmp_path, files), images=2, limits=LIMITS)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK", b"\x1f\x8b" + b"0" * 600])
def test_what_is_no_zip_is_an_error_of_the_source(tmp_path: Path, content: bytes) -> None:
    """Pages, nothing, other archives."""
    path = tmp_path / "series.zip"
    path.write_bytes(content)
    with pytest.raises(SourceFailedError):
        check_series_archive(path, images=2, limits=LIMITS)


def test_bounds_follow_what_was_announced() -> None:
    """A little more than announced, never more than the settings; nothing where nothing was announced."""
    assert limits_of(LIMITS, images=None, announced=5) == LIMITS == limits_of(LIMITS, images=5, announced=None)
    assert limits_of(LIMITS, images=5, announced=5).entries == 7
    wide = ArchiveLimits(bytes=1 << 40, entries=1 << 30, ratio=200.0)
    assert 10**9 < limits_of(wide, images=100, announced=10**9).bytes < 1.01 * 10**9
    assert most_packed(None, 3) is None and 10**9 < (most_packed(10**9, 100) or 0) < 1.02 * 10**9


def test_names_of_folders_are_plain_and_apart() -> None:
    """What is plain stays; the rest keeps apart what differs."""
    assert plain_name("LIDC-IDRI-0001") == "LIDC-IDRI-0001" and plain_name("1.2.3") == "1.2.3"
    odd = ["a b", "a_b", "a=b", "..", ".", "", ".hidden", "a/b", "../../etc", "x" * 300, "é", "\ud800"]
    names = [plain_name(text) for text in odd]
    assert len({name.casefold() for name in names}) == len(odd)
    assert not any("/" in name or name.startswith(".") or len(name) > 120 for name in names)


def test_licences_are_compared_by_words() -> None:
    """CC BY is not CC BY-NC: who asks for the free one never gets the other."""
    assert has_licence("CC BY 4.0", "cc by") and has_licence("CC BY 4.0", "CC BY 4.0")
    assert not has_licence("CC BY-NC 4.0", "CC BY") and not has_licence("CC BY 3.0", "CC BY 4.0")
