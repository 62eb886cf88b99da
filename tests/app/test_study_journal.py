"""The journal: whole lines only, one writer, nothing of others touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from irmsia.app.study_journal import RunHeader, open_journal
from irmsia.errors import InvalidRequestError
from irmsia.findings.types import Decision, Diagnosis, Evidence
from irmsia.wire.json import diagnosis_to_line

HEADER = RunHeader("ab" * 32, ("in",))
ANSWERS = [
    Diagnosis(input=f"{number}.dcm", decision=Decision.ACCEPT, rule=8, evidence=Evidence(input_sha256=f"{number:064x}"))
    for number in range(3)
]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A journal of three answers and its header."""
    path, beside = tmp_path / "r.jsonl", tmp_path / "r.jsonl.run.json"
    with open_journal(path, beside, HEADER) as journal:
        for answer in ANSWERS:
            journal.append(answer)
    return path, beside


def test_what_was_appended_is_found_again(places: tuple[Path, Path]) -> None:
    """Each line is the answer itself."""
    assert places[0].read_text("ascii").splitlines() == [diagnosis_to_line(answer) for answer in ANSWERS]
    with open_journal(*places, HEADER) as journal:
        assert [journal.read(row) for row in journal.found] == ANSWERS


def test_a_last_line_cut_anywhere_is_dropped(places: tuple[Path, Path]) -> None:
    """A process may die after any byte: the lines before stand, and the next line begins where they end."""
    data = places[0].read_bytes()
    begin = data.rindex(b"\n", 0, -1) + 1
    for cut in range(begin, len(data)):
        places[0].write_bytes(data[:cut])
        with open_journal(*places, HEADER) as journal:
            assert len(journal.found) == 2
            journal.append(ANSWERS[2])
        assert places[0].read_bytes() == data, cut


def test_a_last_line_of_noughts_is_dropped(places: tuple[Path, Path]) -> None:
    """Some file systems leave them after a power cut."""
    data = places[0].read_bytes()
    places[0].write_bytes(data + b"\0" * 100 + b"\n")
    with open_journal(*places, HEADER) as journal:
        assert len(journal.found) == 3
    assert places[0].read_bytes() == data


@pytest.mark.parametrize(
    "line", [b"{}\n", b"no answer\n", b"\xff\n", b'{"input": 3, "decision": null, "error": null}\n']
)
def test_a_damaged_line_in_the_middle_is_told(places: tuple[Path, Path], line: bytes) -> None:
    """Nothing is thrown away that a person may want to mend."""
    lines = places[0].read_bytes().splitlines(keepends=True)
    places[0].write_bytes(lines[0] + line + lines[2])
    with pytest.raises(InvalidRequestError, match="line 2 of the results is damaged"), open_journal(*places, HEADER):
        pass
    assert places[0].read_bytes() == lines[0] + line + lines[2]


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Though it has the right name."""
    path, beside = tmp_path / "r.jsonl", tmp_path / "r.jsonl.run.json"
    path.write_text("mine\n")
    with pytest.raises(InvalidRequestError, match="was not begun by this command"), open_journal(path, beside, HEADER):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["r.jsonl"]
    assert path.read_text() == "mine\n"


def test_two_runs_do_not_write_one_file(places: tuple[Path, Path]) -> None:
    """The second is told at once; the file is free when the first has ended."""
    with (
        open_journal(*places, HEADER),
        pytest.raises(InvalidRequestError, match="another run is writing"),
        open_journal(*places, HEADER),
    ):
        pass
    with open_journal(*places, HEADER) as journal:
        assert len(journal.found) == 3


def test_a_header_that_was_half_written_holds_nothing_up(tmp_path: Path) -> None:
    """It was written before the first answer, so there is none yet."""
    (tmp_path / "r.run.json").write_text('{"version"')
    with open_journal(tmp_path / "r.jsonl", tmp_path / "r.run.json", HEADER) as journal:
        journal.append(ANSWERS[0])
    with open_journal(tmp_path / "r.jsonl", tmp_path / "r.run.json", HEADER) as journal:
        assert len(journal.found) == 1


def test_settled_rows_alone_are_left_in_their_order(places: tuple[Path, Path]) -> None:
    """A row under a new name has it in its line too."""
    with open_journal(*places, HEADER) as journal:
        first, _, third = journal.found
        journal.settle([third.named("x.dcm"), first])
    with open_journal(*places, HEADER) as journal:
        assert [row.answer.input for row in journal.found] == ["x.dcm", "0.dcm"]
