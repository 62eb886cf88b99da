"""Labels that a person corrects: a table from path to label, every row of which is meant."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from irmsia.datasets.rows import label_problem
from irmsia.errors import InvalidRequestError, from_system

MOST_BYTES = 256 * 1024**2
_PATH, _LABEL = "path", "label"
_FORM = "the file is no table of path and label: CSV with these two columns, or JSON"


def read_corrections(file: Path) -> dict[str, str | None]:
    """The label of each path; null where the label is empty, which takes a label away.

    CSV with the columns ``path`` and ``label`` (others are passed over), a JSON list of objects that have both, or a
    JSON object from path to label. Backslashes in paths count as slashes.

    Raises:
        InvalidRequestError: it cannot be read, is no such table, names a path twice with two labels, or a label is
            none that can be kept.
    """
    text = _read(file)
    pairs = _json_pairs(text) if text.lstrip()[:1] in {"{", "["} else _csv_pairs(text)
    return _collect(pairs)


def _collect(pairs: Iterable[tuple[Any, Any]]) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for named, told in pairs:
        if not isinstance(named, str) or not named or not isinstance(told, str | None):
            raise InvalidRequestError(_FORM)
        path, label = named.replace("\\", "/").removeprefix("./"), (told or "").strip() or None
        if labels.setdefault(path, label) != label:
            raise InvalidRequestError("the file gives one path two labels")
        if wrong := label_problem(label):
            raise InvalidRequestError(wrong)
    if not labels:
        raise InvalidRequestError("the file names no path")
    return labels


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InvalidRequestError(f"the file is larger than {MOST_BYTES // 1024**2} MiB")
        return content.decode("utf-8-sig")
    except (OSError, MemoryError) as error:
        raise from_system(error, "the file cannot be read", InvalidRequestError) from None
    except ValueError:
        raise InvalidRequestError("the file is no UTF-8 text") from None


def _csv_pairs(text: str) -> Iterator[tuple[Any, Any]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not {_PATH, _LABEL} <= set(rows.fieldnames or ()):
            raise InvalidRequestError(_FORM)
        for row in rows:
            if row[_LABEL] is None:
                raise InvalidRequestError("a row of the file has no label, not even an empty one")
            yield row[_PATH], row[_LABEL]
    except csv.Error:
        raise InvalidRequestError(_FORM) from None


def _json_pairs(text: str) -> Iterator[tuple[Any, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError(_FORM) from None
    if isinstance(value, Mapping):
        yield from value.items()
        return
    for row in value:
        if not isinstance(row, Mapping) or not {_PATH, _LABEL} <= row.keys():
            raise InvalidRequestError(_FORM)
        yield row[_PATH], row[_LABEL]
