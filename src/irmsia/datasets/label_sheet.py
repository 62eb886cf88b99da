"""Labels (and patients) that a table states: CSV, JSON or JSON lines, one row an image."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irmsia.errors import InvalidRequestError, from_system

MOST_BYTES = 256 << 20
MOST_LABEL = 200
_PATH_NAMES = (
    "path",
    "file",
    "filename",
    "file_name",
    "image_path",
    "filepath",
    "image",
    "image_id",
    "image index",
    "id",
    "name",
)
_LABEL_NAMES = ("label", "class", "target", "diagnosis", "finding", "finding labels", "category", "dx", "y")
_NOTHING = frozenset({"", "nan", "null", "none", "na", "n/a"})


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What the table says of one image; null where it says nothing."""

    label: str | None
    patient: str | None = None


@dataclass(slots=True)
class LabelSheet:
    """A table of labels, and what came of looking images up in it.

    Attributes:
        rows: rows that name an image.
        conflicts: names of which two rows say different things; their images get nothing from the table.
    """

    rows: int = 0
    conflicts: int = 0
    _by_name: dict[str, LabelRow | None] = field(default_factory=dict)
    _by_tail: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _used: set[str] = field(default_factory=set)

    @property
    def unused(self) -> int:
        """Names of the table that no image was found for, so far."""
        return len(self._by_name) - len(self._used)

    def labels(self) -> Counter[str]:
        """How many names have each label, as it is written."""
        return Counter(row.label for row in self._by_name.values() if row is not None and row.label is not None)

    def find(self, path: str) -> LabelRow | None:
        """The row of an image: by its path below the root or any tail of it, else by the tail of the row's own path.

        Names without a suffix stand for files of any.
        """
        name = self._named(path)
        if name is None:
            return None
        self._used.add(name)
        return self._by_name[name]

    def _named(self, path: str) -> str | None:
        for tail in _tails(path):
            if tail in self._by_name:
                return tail
        last = path.rpartition("/")[2]
        for end in (last, last.partition(".")[0]):
            found = self._by_tail.get(end, ())
            fitting = found if len(found) == 1 else [name for name in found if f"/{name}".endswith(f"/{path}")]
            if len(fitting) == 1:
                return fitting[0]
        return None

    def add(self, name: str, row: LabelRow) -> None:
        """Take a row; a second one of the same name must say the same."""
        name = name.replace("\\", "/").removeprefix("./").strip("/")
        if not name:
            return
        self.rows += 1
        if name not in self._by_name:
            self._by_name[name] = row
            self._by_tail[name.rpartition("/")[2]].append(name)
        elif self._by_name[name] != row:
            self.conflicts += self._by_name[name] is not None
            self._by_name[name] = None


def _tails(path: str) -> Iterator[str]:
    """``a/b/c.png``, ``b/c.png``, ``c.png``; then the same without suffix."""
    stem = path[: len(path) - len(path.rpartition("/")[2])] + path.rpartition("/")[2].partition(".")[0]
    for whole in (path, stem):
        steps = whole.split("/")
        yield from ("/".join(steps[at:]) for at in range(len(steps)))


def read_labels(
    file: Path, *, path_column: str | None = None, label_column: str | None = None, patient_column: str | None = None
) -> LabelSheet:
    """Read a table of labels.

    CSV with a header (parted by comma, semicolon or tab), JSON lines, a JSON list of objects, an object of such lists,
    or an object from name to label. Columns that are not told are looked for by their usual names.

    Raises:
        InvalidRequestError: it cannot be read, is no such table, lacks a column, or a label is no short text.
    """
    text = _read(file)
    rows = _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text)
    sheet = LabelSheet()
    names: tuple[str, str | None, str | None] | None = None
    for row in rows:
        if names is None:
            names = _columns(list(row), path_column, label_column, patient_column)
        path, label, patient = names
        sheet.add(str(row.get(path) or ""), LabelRow(_text(row, label), _text(row, patient)))
    if not sheet.rows:
        raise InvalidRequestError("the label file names no image")
    return sheet


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InvalidRequestError(f"the label file is larger than {MOST_BYTES >> 20} MiB")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, MemoryError) as error:
        raise from_system(error, "the label file cannot be read", InvalidRequestError) from None
    except ValueError:
        raise InvalidRequestError("the label file is no UTF-8 text") from None


def _csv_rows(text: str) -> Iterator[Mapping[str, Any]]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        yield from csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error:
        raise InvalidRequestError("the label file is no CSV table") from None


def _json_rows(text: str) -> Iterator[Mapping[str, Any]]:
    for value in _json_values(text):
        if isinstance(value, Mapping) and not _is_row(value):
            yield from _mapped(value)
        else:
            for row in value if isinstance(value, list) else [value]:
                if not isinstance(row, Mapping):
                    raise InvalidRequestError("the label file holds something that is no row")
                yield row


def _is_row(value: Mapping[str, Any]) -> bool:
    """Whether an object is one row, and not a table."""
    return not any(isinstance(held, list | Mapping) for held in value.values()) and any(
        str(name).lower() in _PATH_NAMES for name in value
    )


def _mapped(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """From name to label, or lists of rows by part."""
    for name, held in value.items():
        if isinstance(held, list):
            yield from (row for row in held if isinstance(row, Mapping))
        elif isinstance(held, Mapping):
            yield {"path": name, **held}
        else:
            yield {"path": name, "label": held}


def _json_values(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
    except RecursionError:
        raise InvalidRequestError("the label file is nested too deep") from None
    except ValueError:
        try:
            yield from [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise InvalidRequestError("the label file is no JSON") from None


def _columns(
    names: Sequence[Any], path: str | None, label: str | None, patient: str | None
) -> tuple[str, str | None, str | None]:
    known = [str(name) for name in names if name is not None]
    chosen = _column(known, path, _PATH_NAMES, "--path-column")
    told = (
        _column(known, label, _LABEL_NAMES, "--label-column") if label or not patient else _first(known, _LABEL_NAMES)
    )
    return chosen, told, _column(known, patient, (), "--patient-column") if patient else None


def _column(known: Sequence[str], asked: str | None, usual: Iterable[str], option: str) -> str:
    if asked is not None:
        if asked in known:
            return asked
        raise InvalidRequestError(f"the label file has no column of the name that {option} gives")
    found = _first(known, usual)
    if found is None:
        raise InvalidRequestError(f"no column of the label file has a usual name; say which by {option}")
    return found


def _first(known: Sequence[str], usual: Iterable[str]) -> str | None:
    lower = {name.strip().lower(): name for name in reversed(known)}
    return next((lower[name] for name in usual if name in lower), None)


def _text(row: Mapping[str, Any], column: str | None) -> str | None:
    """A cell as text; a number as it is written, nothing for what says nothing."""
    value = row.get(column) if column is not None else None
    if value is None or isinstance(value, list | Mapping):
        return None
    text = str(value).strip()
    if text.lower() in _NOTHING:
        return None
    if len(text) > MOST_LABEL or not text.isprintable():
        raise InvalidRequestError(f"a cell of the label file is no text of at most {MOST_LABEL} characters")
    return text
