"""What a person found who checked a sample of labels by hand, and what that says of all labels.

The sample is drawn class by class, so that each class counts by its share of the whole and not of the sample.
Intervals are Wilson's (1927), at 95 %; for the whole with the effective number of a stratified sample,
1 / sum(share^2 / checked).
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from irmsia.datasets.record import Record
from irmsia.errors import InvalidRequestError

VERDICTS = ("right", "wrong", "unsure")
COLUMNS = ("number", "path", "label", "verdict", "correct_label", "comment")
MOST_BYTES = 8 * 1024 * 1024
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Verdict:
    """One checked image."""

    path: str
    label: str
    verdict: str


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """How many labels are wrong.

    Attributes:
        label: null for the whole.
        checked: images called right or wrong; ``unsure`` ones are not counted as either.
        wrong: of ``checked``.
        share: of wrong labels, 0..1, with its interval ``low`` to ``high``; null where nothing was checked.
    """

    label: str | None
    checked: int
    wrong: int
    unsure: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Review:
    """Rows of each label and of the whole, last; how many verdicts are still open, and how many are outdated.

    A verdict is outdated where the file is gone from the dataset or has another label by now.
    """

    rows: tuple[LabelQuality, ...]
    open: int
    outdated: int


def write_list(records: Sequence[Record]) -> bytes:
    """The list to fill in: CSV, one line an image, numbered from 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((number, record.path, record.label, "", "", "") for number, record in enumerate(records, 1))
    return text.getvalue().encode("utf-8")


def read_list(content: bytes) -> tuple[Verdict, ...]:
    """The verdicts of a filled list; open ones have the verdict "".

    Raises:
        InvalidRequestError: too large, no CSV in UTF-8 with its columns, or another word than right, wrong, unsure.
    """
    if len(content) > MOST_BYTES:
        raise InvalidRequestError(f"the list of verdicts is larger than {MOST_BYTES} bytes")
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error):
        raise InvalidRequestError("the list of verdicts is no CSV file in UTF-8") from None
    if reader.fieldnames is None or not {"path", "label", "verdict"} <= set(reader.fieldnames):
        raise InvalidRequestError("the list of verdicts needs the columns path, label, verdict")
    return tuple(_verdict(line, row) for line, row in rows)


def measure_review(verdicts: Iterable[Verdict], records: Sequence[Record]) -> Review:
    """Hold the verdicts against the dataset as it is."""
    labels = {record.path: record.label for record in records if record.is_valid and record.label is not None}
    given = list({row.path: row for row in verdicts}.values())
    valid = [row for row in given if labels.get(row.path) == row.label]
    sizes = Counter(labels.values())
    names = sorted({row.label for row in valid})
    rows = [_quality(name, [row for row in valid if row.label == name]) for name in names]
    return Review(
        rows=(*rows, _whole(rows, sizes)) if rows else (),
        open=sum(not row.verdict for row in valid),
        outdated=len(given) - len(valid),
    )


def _verdict(line: int, row: Mapping[str, str | None]) -> Verdict:
    verdict = (row["verdict"] or "").strip().lower()
    if verdict not in {"", *VERDICTS}:
        raise InvalidRequestError(f"line {line} of the list has a verdict that is none of {', '.join(VERDICTS)}")
    return Verdict(row["path"] or "", row["label"] or "", verdict)


def _quality(label: str, rows: Sequence[Verdict]) -> LabelQuality:
    told = Counter(row.verdict for row in rows)
    checked, wrong = told["right"] + told["wrong"], told["wrong"]
    share = wrong / checked if checked else None
    return LabelQuality(label, checked, wrong, told["unsure"], share, *_wilson(share, checked))


def _whole(rows: Sequence[LabelQuality], sizes: Mapping[str, int]) -> LabelQuality:
    """All classes that were checked, each by its share of the labels."""
    seen = [row for row in rows if row.checked]
    total = sum(sizes[row.label or ""] for row in seen)
    weights = [sizes[row.label or ""] / total for row in seen]
    share = sum(w * (row.share or 0.0) for w, row in zip(weights, seen, strict=True)) if seen else None
    effective = 1 / sum(w * w / row.checked for w, row in zip(weights, seen, strict=True)) if seen else 0.0
    return LabelQuality(
        label=None,
        checked=sum(row.checked for row in rows),
        wrong=sum(row.wrong for row in rows),
        unsure=sum(row.unsure for row in rows),
        share=share,
        low=_wilson(share, effective)[0],
        high=_wilson(share, effective)[1],
    )


def _wilson(share: float | None, count: float) -> tuple[float, float]:
    if share is None or count <= 0:
        return 0.0, 1.0
    below = 1 + _Z * _Z / count
    middle = (share + _Z * _Z / (2 * count)) / below
    half = _Z / below * math.sqrt(share * (1 - share) / count + _Z * _Z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
