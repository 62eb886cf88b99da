"""A check by hand: the estimate is of the whole set, with its uncertainty, and old verdicts do not count."""

from __future__ import annotations

import pytest

from irmsia.datasets.record import Record
from irmsia.datasets.review import Verdict, measure_review, read_list, write_list
from irmsia.datasets.stratified import draw_stratified
from irmsia.errors import InvalidRequestError
from tests.datasets.made_records import make_record


def _set() -> list[Record]:
    return [make_record(f"n{i}.png", label="normal") for i in range(90)] + [
        make_record(f"b{i}.png", label="benign") for i in range(10)
    ]


def _verdicts(records: list[Record], wrong: set[str]) -> list[Verdict]:
    return [Verdict(row.path, row.label or "", "wrong" if row.path in wrong else "right") for row in records]


def test_classes_count_by_their_share_of_the_set() -> None:
    """Ten of ten rare images and ten common ones are checked; half of the rare labels are wrong: 5 %, not 25 %."""
    records = _set()
    drawn = draw_stratified(records, 20)
    review = measure_review(_verdicts(drawn, {f"b{i}.png" for i in range(5)}), records)
    rows = {row.label: row for row in review.rows}
    assert (rows["benign"].share, rows["normal"].share) == (0.5, 0.0)
    assert rows[None].share == pytest.approx(0.05)
    assert rows[None].low < 0.05 < rows[None].high < 0.35
    assert rows["normal"].high == pytest.approx(0.2775, abs=1e-3)  # Wilson, 0 of 10


def test_unsure_is_neither_right_nor_wrong() -> None:
    """It is counted by itself; where nothing else was said, nothing is known."""
    records = _set()
    review = measure_review([Verdict("n0.png", "normal", "unsure"), Verdict("n1.png", "normal", "")], records)
    assert (review.rows[0].checked, review.rows[0].unsure, review.open) == (0, 1, 1)
    assert (review.rows[-1].share, review.rows[-1].low, review.rows[-1].high) == (None, 0.0, 1.0)


def test_verdicts_of_another_label_or_a_gone_file_do_not_count() -> None:
    """The label was corrected since, or the file is gone: the verdict is outdated."""
    records = _set()
    review = measure_review([Verdict("n0.png", "benign", "wrong"), Verdict("gone.png", "normal", "right")], records)
    assert (review.rows, review.outdated) == ((), 2)


def test_a_list_is_read_as_it_was_written() -> None:
    """Names with commas, quotes and line ends come back."""
    records = [make_record('a,"b"\n.png'), make_record("c.png", label="x,y")]
    assert [(row.path, row.label, row.verdict) for row in read_list(write_list(records))] == [
        ('a,"b"\n.png', "normal", ""),
        ("c.png", "x,y", ""),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "columns"),
        (b"path,label,verdict\na,b,maybe\n", "line 2"),
        (b"\xff", "UTF-8"),
        (b"x" * (8 * 1024 * 1024 + 1), "larger"),
    ],
)
def test_what_is_no_list_is_refused(content: bytes, says: str) -> None:
    """With the line that is wrong."""
    with pytest.raises(InvalidRequestError, match=says):
        read_list(content)


def test_a_sample_holds_every_class_and_is_the_same_again() -> None:
    """As even as the classes allow, the same for a seed in any order, another for another seed."""
    records = _set()
    drawn = draw_stratified(records, 30, seed=3)
    assert sum(row.label == "benign" for row in drawn) == 10
    assert draw_stratified(records[::-1], 30, seed=3) == drawn != draw_stratified(records, 30, seed=4)
    assert len(draw_stratified(records, 0)) == 0
    assert len(draw_stratified(records, 1000)) == 100
    assert draw_stratified([make_record(problem="TRUNCATED")], 5) == []
