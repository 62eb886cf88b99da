"""The table of a study opens in a spreadsheet, has the same columns always, and computes nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.app.study_journal import StudyRow
from irmsia.app.study_result import make_result
from irmsia.app.study_table import make_table
from irmsia.findings.types import Diagnosis, Problem, Source
from irmsia.findings.vocabulary import list_terms
from tests.app.studies import StudyService, run, write_image
from tests.server.scripted import MODEL, MODEL_INFO


@pytest.fixture
def service() -> Iterator[StudyService]:
    """What answers the files of a test."""
    service = StudyService()
    yield service
    service.close()


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(*answers: Diagnosis) -> list[dict[str, str]]:
    rows = [StudyRow(place, answer, None) for place, answer in enumerate(answers)]
    text = b"".join(make_table(make_result(MODEL_INFO, rows, 0))).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_column_holds_what_it_says(service: StudyService, tmp_path: Path) -> None:
    """A row an instance, failures with their code, probabilities by term."""
    write_image(tmp_path / "in" / "a.dcm", "1.1", risk=65.0)
    write_image(tmp_path / "in" / "b.dcm", "1.1", pixels="other", risk=None, decision="REFUSE")
    write_image(tmp_path / "in" / "c.dcm", "1.2", fails="TRUNCATED")
    run(service, tmp_path / "in", tmp_path / "r.csv")
    first, second, third = _read(tmp_path / "r.csv")
    said = ("sop_instance_uid", "decision", "risk_score", "p_pneumonia", "present", "model_id", "warnings")
    assert [first[name] for name in said] == [
        *("1.1", "ACCEPT", "65.0", "0.9375", "pneumonia", MODEL.id, "DUPLICATE_INSTANCE"),
    ]
    assert (second["decision"], second["risk_score"], second["warnings"]) == ("REFUSE", "", "DUPLICATE_INSTANCE")
    assert (third["error"], third["decision"], third["p_pneumonia"]) == ("TRUNCATED", "", "")


def test_the_columns_do_not_depend_on_the_rows() -> None:
    """Tables of several runs can be put below each other: a column for every term of the vocabulary."""
    alone = b"".join(make_table(make_result(MODEL_INFO, [], 0))).decode().strip().split(",")
    assert list(_table(Diagnosis(input="a", error=Problem("INTERNAL", "")))[0]) == alone
    assert {f"p_{term.code}" for term in list_terms()} - set(alone) == {"p_normal"}


@given(st.text(min_size=1), st.sampled_from("=+-@\t\r\n＝＋－＠"))
def test_no_cell_is_a_formula(text: str, begin: str) -> None:
    """Whatever a file or a header is called, a spreadsheet shows it and computes nothing (OWASP, CSV Injection)."""
    hostile = begin + text.encode("utf-8", "replace").decode()
    [row] = _table(Diagnosis(input=hostile, source=Source(study_instance_uid=hostile)))
    assert row["input"] == row["study_instance_uid"]
    assert row["input"].startswith(f"'{begin}")
    assert row["input"].replace("'", "") == hostile.replace("'", "")
    for cell in re.split("[;\t\r\n]", row["input"]):  # as a spreadsheet with another separator reads it
        assert not cell.lstrip('"').startswith(tuple("=+-@＝＋－＠"))


def test_only_what_would_be_computed_is_changed() -> None:
    """A sign within a name stays as it is; after a semicolon it would begin a formula where that separates cells."""
    rows = _table(Diagnosis(input="a-1;b,=2"), Diagnosis(input='a;=1+1;"=2"'))
    assert [row["input"] for row in rows] == ["a-1;b,=2", "a;'=1+1;'\"=2\""]
