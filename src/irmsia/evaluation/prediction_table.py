"""Predictions as a CSV table, whoever made them: read with every cell checked, and written.

Columns, in any order: ``id`` (unique), ``group`` (patient or cluster), ``truth`` (a term), ``p_TERM`` (its probability,
one column a term); and where they are known ``region``, ``routed`` (the region found), ``decision`` (ACCEPT, REFER,
REFUSE), ``reason``, ``present`` (1 or 0: an abnormal term was called present) and ``set`` (terms parted by ``|``).
Rows of several regions may share a table: a region's terms are the probability columns that its rows fill.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from irmsia.errors import InvalidRequestError, LimitExceededError, NotFoundError, NotReadableError
from irmsia.evaluation.answered import AnsweredImage
from irmsia.findings.types import Decision

MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 100_000
MAX_TERMS = 64
PREFIX = "p_"
ONLY_REGION = "all"
"""The region of a table without that column."""

_NEEDED = ("id", "group", "truth")
_KNOWN = (*_NEEDED, "region", "routed", "decision", "reason", "present", "set")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,63}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_CELL = 1000


def read_table(path: Path) -> bytes:
    """The bytes of a table.

    Raises:
        NotFoundError, NotReadableError: the file is not there or cannot be read.
        LimitExceededError: more bytes than a table may have.
    """
    try:
        # O_NONBLOCK: opening a named pipe must not wait for its writer
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_BYTES + 1) if is_file else None
    except FileNotFoundError:
        raise NotFoundError("there is no such table") from None
    except OSError:
        raise NotReadableError("the table cannot be read") from None
    if content is None:
        raise NotReadableError("the table is no regular file")
    if len(content) > MAX_BYTES:
        raise LimitExceededError(f"the table has more than {MAX_BYTES:,} bytes")
    return content


def parse_predictions(content: bytes) -> list[AnsweredImage]:
    """Parse the bytes of a table.

    A message names lines and columns by what this module knows, never by what the file holds.

    Raises:
        LimitExceededError: more rows or terms than a table may have.
        InvalidRequestError: anything else that is wrong, with the line.
    """
    rows = _rows(_decode(content))
    line, header = next(rows, (1, []))
    columns = _columns(header, line)
    images: list[AnsweredImage] = []
    seen: set[str] = set()
    for line, cells in rows:
        if len(images) == MAX_ROWS:
            raise LimitExceededError(f"the table has more than {MAX_ROWS:,} rows")
        if len(cells) != len(header):
            raise InvalidRequestError(f"line {line}: {len(cells)} cells under {len(header)} columns")
        image = _image(dict(zip(columns, cells, strict=True)), line)
        if image.id in seen:
            raise InvalidRequestError(f"line {line}: its id stands in an earlier line as well")
        seen.add(image.id)
        images.append(image)
    if not images:
        raise InvalidRequestError("the table has no rows")
    return images


def format_predictions(images: Sequence[AnsweredImage]) -> str:
    """The table of ``images``; `parse_predictions` gives equal images back."""
    terms = list(dict.fromkeys(term for image in images for term in image.probabilities))
    rows = [_cells(image, terms) for image in images]
    filled = [name for name in (rows[0] if rows else ()) if any(row[name] is not None for row in rows)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(filled)
    writer.writerows([row[name] for name in filled] for row in rows)
    return out.getvalue()


def _cells(image: AnsweredImage, terms: Sequence[str]) -> dict[str, object]:
    held = image.conformal_set
    return {
        "region": image.region,
        "id": image.id,
        "group": image.group,
        "truth": image.term,
        "routed": image.routed,
        "decision": image.decision,
        "reason": image.reason,
        "present": None if image.present is None else int(image.present),
        "set": None if held is None else "|".join(held),
        **{f"{PREFIX}{term}": image.probabilities.get(term) for term in terms},
    }


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequestError("the table is not UTF-8 text") from None
    if "\0" in text:
        raise InvalidRequestError("the table is not text: it holds a zero byte")
    return text


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every line that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error:
            raise InvalidRequestError(f"line {reader.line_num}: not a line of comma-separated values") from None
        if cells is None:
            return
        if cells:
            yield reader.line_num, [cell.strip() for cell in cells]


def _columns(header: Sequence[str], line: int) -> list[str]:
    for name in _NEEDED:
        if name not in header:
            raise InvalidRequestError(f"line {line}: no column is called {name}")
    terms = [name.removeprefix(PREFIX) for name in header if name.startswith(PREFIX)]
    if len(terms) < 2:
        raise InvalidRequestError(f"line {line}: at least two columns {PREFIX}TERM are needed")
    if len(terms) > MAX_TERMS:
        raise LimitExceededError(f"the table has more than {MAX_TERMS} terms")
    if not all(map(_NAME.fullmatch, terms)):
        raise InvalidRequestError(f"line {line}: a term may hold letters, digits, space and _ . + - (64 at most)")
    if len(set(header)) != len(header):
        raise InvalidRequestError(f"line {line}: two columns have one name")
    for number, name in enumerate(header, start=1):
        if not name.startswith(PREFIX) and name not in _KNOWN:
            raise InvalidRequestError(f"line {line}: column {number} is none of {', '.join(_KNOWN)} or {PREFIX}TERM")
    return list(header)


def _image(row: dict[str, str], line: int) -> AnsweredImage:
    for name in _NEEDED:
        if not row[name] or len(row[name]) > _MAX_CELL:
            raise InvalidRequestError(f"line {line}: {name} is empty or too long")
    return AnsweredImage(
        region=_name(row, "region", line) or ONLY_REGION,
        term=row["truth"],
        group=row["group"],
        probabilities={
            name.removeprefix(PREFIX): _number(cell, line)
            for name, cell in row.items()
            if name.startswith(PREFIX) and cell
        },
        id=row["id"],
        routed=_name(row, "routed", line),
        decision=_decision(row.get("decision") or None, line),
        reason=_name(row, "reason", line),
        present=_flag(row.get("present") or None, line),
        conformal_set=_set(row.get("set"), line),
    )


def _name(row: dict[str, str], column: str, line: int) -> str | None:
    cell = row.get(column)
    if cell and not _NAME.fullmatch(cell):
        raise InvalidRequestError(f"line {line}: {column} is no name of letters, digits, space and _ . + -")
    return cell or None


def _number(cell: str, line: int) -> float:
    value = float(cell) if len(cell) <= _MAX_CELL and _NUMBER.fullmatch(cell) else math.nan
    if not 0 <= value <= 1:
        raise InvalidRequestError(f"line {line}: a probability is no number within 0..1")
    return value


def _decision(cell: str | None, line: int) -> str | None:
    if cell is not None and cell not in set(Decision):
        raise InvalidRequestError(f"line {line}: decision is none of {', '.join(Decision)}")
    return cell


def _flag(cell: str | None, line: int) -> bool | None:
    if cell not in (None, "0", "1"):
        raise InvalidRequestError(f"line {line}: present is neither 0 nor 1")
    return None if cell is None else cell == "1"


def _set(cell: str | None, line: int) -> tuple[str, ...] | None:
    """Null without the column; an empty cell is an empty set."""
    if cell is None:
        return None
    terms = tuple(term.strip() for term in cell.split("|")) if cell else ()
    if len(set(terms)) != len(terms) or len(terms) > MAX_TERMS:
        raise InvalidRequestError(f"line {line}: set holds a term twice")
    return terms
