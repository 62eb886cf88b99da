"""Openings of the sealed test part are counted, and the log cannot be shortened or changed unseen."""

from pathlib import Path

import pytest

from irmsia.datasets.opening import record_opening
from irmsia.errors import InvalidRequestError


def _open(path: Path, sealed: str = "s") -> int:
    return record_opening(path, sealed_digest=sealed, bundle="b", when="2026-01-01T00:00:00Z")


def test_openings_are_counted_per_list(tmp_path: Path) -> None:
    """The second opening of the same list says 2; another list starts at 1."""
    log = tmp_path / "home" / "seal.jsonl"
    assert [_open(log), _open(log), _open(log, "other"), _open(log)] == [1, 2, 1, 3]


@pytest.mark.parametrize(
    "change",
    [lambda lines: lines[1:], lambda lines: [lines[0].replace('"b"', '"c"'), *lines[1:]], lambda lines: ["{", *lines]],
)
def test_changed_log_is_refused(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """A removed, altered or broken line breaks the chain."""
    log = tmp_path / "seal.jsonl"
    for _ in range(3):
        _open(log)
    log.write_text("\n".join(change(log.read_text().splitlines())) + "\n")
    with pytest.raises(InvalidRequestError, match="changed"):
        _open(log)
