"""Files of answers: what is read, and what a hostile one gets."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from irmsia.app import answers
from irmsia.app.answers import read_answers
from irmsia.errors import InvalidRequestError, LimitExceededError, NotFoundError, NotReadableError
from irmsia.findings.types import Decision, Diagnosis, Timings
from irmsia.wire.json import diagnosis_to_json, diagnosis_to_line
from tests.wire.answers import any_of

ANSWER = Diagnosis(input="a.dcm", decision=Decision.ACCEPT, rule=8, timings_ms=Timings(total=2.5))
LINE = diagnosis_to_line(ANSWER)


def write(tmp_path: Path, content: str | bytes) -> Path:
    """A file of answers."""
    path = tmp_path / "answers.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, *HealthCheck])
@given(any_of(Diagnosis))
def test_what_was_written_is_read(tmp_path: Path, answer: Diagnosis) -> None:
    """Any answer on a line is read back as it was, with nothing strange about it."""
    (given,) = read_answers(write(tmp_path, diagnosis_to_line(answer) + "\n"))
    assert (given.answer, given.strange) == (answer, ())


def test_one_object_over_many_lines_or_one_a_line(tmp_path: Path) -> None:
    """An indented object is one answer; lines are several, named by their numbers; empty lines count for nothing."""
    laid_out = json.dumps(diagnosis_to_json(ANSWER), indent=2)
    assert [given.answer for given in read_answers(write(tmp_path, laid_out))] == [ANSWER]
    several = list(read_answers(write(tmp_path, f"{LINE}\n\n{LINE}\r\n")))
    assert [given.place for given in several] == ["line 1", "line 3"]


def test_what_no_answer_holds_is_strange(tmp_path: Path) -> None:
    """Unknown keys, at any depth, are named."""
    data = diagnosis_to_json(ANSWER) | {"approved_by": "x"}
    data["timings_ms"]["bonus"] = 1
    (given,) = read_answers(write(tmp_path, json.dumps(data)))
    assert set(given.strange) == {"approved_by", "timings_ms.bonus"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n \n",
        "[]",
        "3",
        '"text"',
        "null",
        "{",
        "not json",
        b"\xff\xfe{}",
        LINE.replace("2.5", "NaN"),
        LINE.replace("2.5", "-Infinity"),
        LINE.replace("2.5", "1e999"),
        LINE.replace("2.5", "1" * 5000),
        LINE.replace("2.5", "0." + "1" * 5000),
        LINE.replace("2.5", str(2**53 + 1)),
        LINE.replace("2.5", '"2.5"'),
        LINE.replace("2.5", "true"),
        LINE.replace('"rule":8', '"rule":8,"rule":7'),
        LINE.replace('"rule":8', '"rule":"8"'),
        LINE.replace('"ACCEPT"', '"MAYBE"'),
        LINE.replace('"input":"a.dcm"', '"input":{"a":1}'),
        LINE.replace('"findings":[]', '"findings":[[]]'),
        "[" * 100_000,
        '{"source":' * 100_000,
        LINE.replace('"input":"a.dcm"', '"input":' + "[" * 50_000 + "]" * 50_000),
    ],
    ids=lambda content: str(content[:12]),
)
def test_hostile_content_is_a_typed_error(tmp_path: Path, content: str | bytes) -> None:
    """No answer, no JSON, other types, depth, NaN, keys twice: INVALID_REQUEST at once, and it names the line only."""
    begin = time.process_time()
    with pytest.raises(InvalidRequestError) as caught:
        list(read_answers(write(tmp_path, content)))
    assert time.process_time() - begin < 5.0
    assert str(tmp_path) not in caught.value.message and len(caught.value.message) < 200


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """The second of two answers is cut."""
    with pytest.raises(InvalidRequestError, match="line 2"):
        list(read_answers(write(tmp_path, f"{LINE}\n{LINE[:-9]}\n")))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent, a directory, too large as a whole or in one answer: each its own code."""
    with pytest.raises(NotFoundError):
        list(read_answers(tmp_path / "none.json"))
    with pytest.raises(NotReadableError):
        list(read_answers(tmp_path))
    path = write(tmp_path, f"{LINE}\n{LINE}\n")
    monkeypatch.setattr(answers, "MOST_BYTES_OF_ONE", 64)
    with pytest.raises(LimitExceededError):
        list(read_answers(path))
    monkeypatch.setattr(answers, "MOST_BYTES", 64)
    with pytest.raises(LimitExceededError):
        list(read_answers(path))
