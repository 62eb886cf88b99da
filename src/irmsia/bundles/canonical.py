"""Canonical JSON (RFC 8785) and the bundle id: one manifest has one id, however its text is laid out."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from typing import Any, NoReturn

import rfc8785

from irmsia.errors import BundleRejectedError

_LONGEST_NUMBER = 400  # no double needs more digits; Python would take quadratic time over millions of them


def parse_json(text: bytes) -> object:
    """`parse_strict` for the parts of a bundle.

    Raises:
        BundleRejectedError: no strict JSON.
    """
    try:
        return parse_strict(text)
    except (ValueError, RecursionError) as error:
        raise BundleRejectedError(f"not valid JSON: {_reason(error)}") from error


def parse_strict(text: bytes) -> Any:
    """The value of strict JSON ``text``: UTF-8, finite and exact numbers, no key twice in one object.

    Raises:
        ValueError: anything else.
        RecursionError: it is nested too deeply.
    """
    return json.loads(
        text.decode("utf-8"),
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_refuse_constant,
        object_pairs_hook=_unique,
    )


def canonical_bytes(value: object) -> bytes:
    """``value`` as RFC 8785 writes it: sorted keys, no white space, shortest numbers.

    Raises:
        BundleRejectedError: an unfinite number, an integer beyond 2**53, a key that is no string.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # rfc8785 checks the type itself
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise BundleRejectedError(f"no canonical JSON: {_reason(error)}") from error


def bundle_id(canonical_manifest: bytes) -> str:
    """SHA-256 (64 hex digits) of the manifest's canonical bytes."""
    return hashlib.sha256(canonical_manifest).hexdigest()


def _integer(digits: str) -> int | float:
    """A JSON number is a double: from 2**53 on only the digits that RFC 8785 writes for one are taken."""
    _require_short(digits)
    value = int(digits)
    if abs(value) < 2**53:
        return value
    if abs(value) > sys.float_info.max:
        raise ValueError("an integer that no double holds")
    if rfc8785.dumps(float(value)) != digits.encode("ascii"):
        raise ValueError("an integer that no double holds")
    return float(value)


def _number(digits: str) -> float:
    """1e400 is a number of JSON but no double."""
    _require_short(digits)
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number that no double holds")
    return value


def _require_short(digits: str) -> None:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("a number with more digits than any double has")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object holds a key twice")
    return result


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n", 1)[0][:200]
