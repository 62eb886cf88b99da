"""The sealed list finds what it lists: by file, frame, group and looks."""

from dataclasses import replace
from pathlib import Path

import pytest

from irmsia.datasets.sealed import SealedSample, group_digest, is_sealed, read_sealed, write_sealed
from irmsia.errors import InvalidRequestError

LISTED = SealedSample("a" * 64, ("b" * 64,), f"{0:016x}", f"{0:064x}", group_digest("set", "p1"))
STRANGER = SealedSample("c" * 64, ("d" * 64,), f"{2**64 - 1:016x}", f"{2**256 - 1:064x}", group_digest("set", "p2"))


@pytest.mark.parametrize(
    "candidate",
    [
        replace(STRANGER, file_sha256=LISTED.file_sha256),
        replace(STRANGER, frame_sha256=("e" * 64, LISTED.frame_sha256[0])),
        replace(STRANGER, group=LISTED.group),
        replace(STRANGER, perceptual_hash=f"{0b1111:016x}", difference_hash=f"{2**16 - 1:064x}"),
    ],
    ids=["file", "frame", "group", "looks"],
)
def test_hits(candidate: SealedSample) -> None:
    """Any one of the four is enough."""
    assert is_sealed(candidate, [LISTED])


@pytest.mark.parametrize(
    "candidate",
    [
        STRANGER,
        replace(STRANGER, perceptual_hash=f"{0b11111:016x}", difference_hash=f"{0:064x}"),
        replace(STRANGER, perceptual_hash=f"{0:016x}", difference_hash=f"{2**17 - 1:064x}"),
    ],
    ids=["stranger", "perceptual 5 away", "difference 17 away"],
)
def test_misses(candidate: SealedSample) -> None:
    """Both hashes must be close; one bit beyond either bound is no hit."""
    assert not is_sealed(candidate, [LISTED])


def test_list_survives_writing(tmp_path: Path) -> None:
    """Written and read again it is the same, whatever the order it was given in."""
    write_sealed(tmp_path / "sealed.jsonl", [STRANGER, LISTED])
    assert read_sealed(tmp_path / "sealed.jsonl") == (LISTED, STRANGER)


def test_broken_line_is_an_error(tmp_path: Path) -> None:
    """A list that cannot be read must not count as empty."""
    (tmp_path / "sealed.jsonl").write_text('{"file_sha256": "x"}\n', encoding="utf-8")
    with pytest.raises(InvalidRequestError):
        read_sealed(tmp_path / "sealed.jsonl")
