"""A record as a row and back."""

from __future__ import annotations

import string
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.record import Intensities, LabelSource, PatientSource, Record, Told
from irmsia.datasets.rows import label_problem, path_problem, to_record, to_row
from irmsia.errors import InternalError
from irmsia.store.samples import SampleRow

numbers = st.floats(allow_nan=False, allow_infinity=False)
told = st.none() | st.builds(Told, st.text(), st.text(), numbers)
special = {
    "path": st.text(string.ascii_letters + "é", min_size=1),
    "size": st.integers(0, 2**63 - 1),
    "modified_ns": st.integers(-(2**63), 2**63 - 1),
    "sha256": st.binary(min_size=32, max_size=32).map(bytes.hex),
    "modality": told,
    "region": told,
    "anomaly": told,
    "sequence": told,
    "label": st.none() | st.text(string.ascii_letters, min_size=1),
    "label_source": st.none() | st.sampled_from(LabelSource),
    "patient_source": st.none() | st.sampled_from(PatientSource),
    "intensities": st.none() | st.builds(Intensities, numbers, numbers, numbers, numbers),
    "spacing_mm": st.tuples(*[st.none() | numbers] * 3),
    "masks": st.lists(st.text()).map(tuple),
    "spacing_source": st.text(),
    "source": st.text(),
    "mask_empty": st.none() | st.booleans(),
    **dict.fromkeys(("frames", "rows", "columns", "samples"), st.none() | st.integers()),
}
others = {field.name: st.none() | st.text() for field in fields(Record) if field.name not in special}


@given(st.builds(Record, **(special | others)))
def test_what_is_written_is_read(record: Record) -> None:
    """Every record comes back as it was, whatever its fields hold."""
    assert to_record(to_row(record)) == record


def test_a_fact_of_a_later_version_is_passed_over() -> None:
    """What this version does not know does not stop it."""
    row = SampleRow("a", 1, 1, "ab" * 32, None, '{"rows": 3, "colour_space": "RGB"}')
    assert to_record(row) == Record("a", 1, 1, "ab" * 32, rows=3)


@pytest.mark.parametrize(
    "facts",
    [
        '{"modality": {"word": "MRI"}}',
        '{"modality": 1}',
        '{"label_source": "NOBODY"}',
        '{"masks": 1}',
        "[]",
        "{",
        "[" * 9_999,
    ],
    ids=lambda facts: facts[:30],
)
def test_a_row_that_nobody_of_ours_wrote_is_internal(facts: str) -> None:
    """And says nothing of what it holds."""
    with pytest.raises(InternalError, match=r"cannot read$"):
        to_record(SampleRow("a", 1, 1, "ab" * 32, None, facts))


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a/..b", ".hidden", "a b/é (1).png", "a\\b", "x" * 2000, "-", "~"])
def test_paths_that_a_sample_can_have(path: str) -> None:
    """Whatever a file below the root may be called."""
    assert path_problem(path) is None


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "..", "a/..", "../a", ".", "a/./b", "a//b", "a/", "a\x7f", "\udc80", "x" * 2001]
)
def test_paths_that_no_sample_has(path: str) -> None:
    """The reason is a sentence without the path."""
    why = path_problem(path)
    assert why and (len(path) < 3 or path not in why)


def test_labels_that_a_sample_can_have() -> None:
    """None is no label; a word of any script is one."""
    assert label_problem(None) is None and label_problem("bénin 漢") is None
    assert label_problem("\t") and label_problem("a" * 501)
