"""Answers that come back as files: one JSON object, or one a line. Nobody vouches for what stands in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irmsia.app.same import json_differences
from irmsia.bundles.canonical import parse_strict
from irmsia.errors import InvalidRequestError, LimitExceededError, NotFoundError, NotReadableError
from irmsia.findings.types import Diagnosis
from irmsia.wire.json import diagnosis_from_json, diagnosis_to_json

MOST_BYTES = 256 * 1024 * 1024
MOST_BYTES_OF_ONE = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """One answer as it was handed in.

    ``place``: where it stands in its file. ``strange``: dotted keys whose value no answer of this version has.
    """

    place: str
    answer: Diagnosis
    strange: tuple[str, ...] = ()


def read_answers(path: Path) -> Iterator[GivenAnswer]:
    """Yield the answers in a file: a JSON object, or JSON lines with an object each.

    Raises:
        NotFoundError, NotReadableError: there is no such file, or it cannot be read.
        LimitExceededError: the file is larger than 256 MiB, or one answer than 32 MiB.
        InvalidRequestError: no strict JSON (UTF-8, finite numbers, no key twice, no depth that only attackers need), no
            object, a key missing, a value of the wrong type, no answer at all.
    """
    lines = [(number, line) for number, line in enumerate(_read(path).split(b"\n"), 1) if line.strip()]
    if not lines:
        raise InvalidRequestError("the file holds no answer")
    if len(lines) > 1 and not _is_whole(lines[0][1]):
        lines = [(lines[0][0], b"\n".join(line for _, line in lines))]
    for number, line in lines:
        place = f"line {number}"
        yield _given(place, _parse(line, place))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError("there is no such file of answers") from None
    except (OSError, ValueError):
        raise NotReadableError("the file of answers cannot be read") from None
    if len(data) > MOST_BYTES:
        raise LimitExceededError(f"a file of answers has at most {MOST_BYTES} bytes")
    return data


def _is_whole(line: bytes) -> bool:
    """Whether a first line is an object by itself: so begin JSON lines, and no object that is laid out over lines."""
    return line.strip().endswith(b"}")


def _parse(text: bytes, place: str) -> Any:
    if len(text) > MOST_BYTES_OF_ONE:
        raise LimitExceededError(f"one answer has at most {MOST_BYTES_OF_ONE} bytes")
    try:
        return parse_strict(text)
    except RecursionError:
        raise InvalidRequestError(f"{place} is nested too deeply") from None
    except ValueError:
        raise InvalidRequestError(f"{place} is no strict JSON") from None


def _given(place: str, data: Any) -> GivenAnswer:
    try:
        answer = diagnosis_from_json(data)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{place} is no answer: {error.message}") from None
    return GivenAnswer(place, answer, tuple(json_differences(data, diagnosis_to_json(answer), 0.0)))
