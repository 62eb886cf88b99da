"""Corrections by hand and by file: what a person says of files, by path or pattern; it wins over everything else."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from irmsia.datasets.anomalies import ANOMALIES
from irmsia.datasets.evidence import WORDS
from irmsia.datasets.record import Told
from irmsia.errors import InvalidRequestError

BY_HAND = "corrected by hand"
BY_FILE = "corrected by file"
AUTO = "auto"
"""As a value: forget what was corrected, let the evidence speak again."""

FIELDS: Mapping[str, tuple[str, ...]] = {**WORDS, "anomaly": ANOMALIES}
"""What can be corrected, and the words each field knows. Labels have a history of their own: `irmsia data label`."""

_COLUMNS = ("path", "field", "value")
_MOST_ROWS = 5_000_000
_LONGEST = 4096
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Correction:
    """``pattern``: a path below the dataset's root, or a glob whose ``*`` crosses folders. ``reason``: who says so."""

    pattern: str
    field: str
    value: str
    reason: str = BY_HAND


def make_correction(pattern: str, field: str, value: str, *, reason: str = BY_HAND) -> Correction:
    """A checked correction; words of our vocabulary in any case.

    Raises:
        InvalidRequestError: there is no such field or word.
    """
    if field not in FIELDS:
        raise InvalidRequestError(f"what can be corrected is {', '.join(FIELDS)}")
    known = (*FIELDS[field], AUTO)
    word = next((word for word in known if word.lower() == value.strip().lower()), None)
    if word is None:
        raise InvalidRequestError(f"the {field} is one of {', '.join(known)}")
    if not pattern or len(pattern) > _LONGEST:
        raise InvalidRequestError("a correction names a path or a pattern of paths")
    return Correction(pattern, field, word, reason)


def parse_setting(text: str, pattern: str = "*") -> Correction:
    """A correction from a command line: ``region=brain``; `InvalidRequestError` where it is none."""
    field, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequestError("a correction is written FIELD=VALUE, as in region=brain")
    return make_correction(pattern, field.strip(), value.strip())


def parse_corrections(content: bytes) -> list[Correction]:
    """The rows of a correction file: CSV with the columns path, field, value.

    Raises:
        InvalidRequestError: no text, other columns, or a row that corrects nothing; the message names the line.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        if reader.fieldnames is None or any(column not in reader.fieldnames for column in _COLUMNS):
            raise InvalidRequestError(f"a correction file is CSV with the columns {', '.join(_COLUMNS)}")
        return [_parse_row(row, reader.line_num) for row in _limited(reader)]
    except (UnicodeDecodeError, csv.Error):
        raise InvalidRequestError("the correction file is no CSV text in UTF-8") from None


class Corrector:
    """Finds what was corrected of a path; of several corrections of one field the last one holds."""

    def __init__(self, corrections: Sequence[Correction]) -> None:
        self._corrections = tuple(corrections)
        self._used: set[int] = set()
        self._exact: dict[str, list[int]] = {}
        self._globs: list[tuple[int, re.Pattern[str]]] = []
        for index, correction in enumerate(self._corrections):
            self._exact.setdefault(correction.pattern, []).append(index)
            if _PATTERN.search(correction.pattern):
                self._globs.append((index, re.compile(translate(correction.pattern))))

    def of(self, path: str) -> dict[str, Correction]:
        """By field, what was corrected of the file at ``path``."""
        exact = self._exact.get(path, [])
        hits = sorted({*exact, *(index for index, glob in self._globs if glob.match(path))})
        self._used.update(hits)
        return {self._corrections[index].field: self._corrections[index] for index in hits}

    def unused(self) -> list[Correction]:
        """The corrections that no path has met so far."""
        return [correction for index, correction in enumerate(self._corrections) if index not in self._used]


def is_corrected(told: Told | None) -> bool:
    """Whether a person said so, at this or at an earlier time."""
    return told is not None and told.reason.startswith((BY_HAND, BY_FILE))


def _limited(rows: Iterable[dict[str, str]]) -> Iterable[dict[str, str]]:
    for count, row in enumerate(rows):
        if count >= _MOST_ROWS:
            raise InvalidRequestError(f"a correction file has at most {_MOST_ROWS} rows")
        yield row


def _parse_row(row: Mapping[str, str | None], line: int) -> Correction:
    try:
        return make_correction(*((row[column] or "") for column in _COLUMNS), reason=BY_FILE)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"line {line} of the correction file: {error.message}") from None
