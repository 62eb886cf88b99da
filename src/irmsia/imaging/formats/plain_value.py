"""Header values that need no library: ASCII text, clean numbers in text, binary numbers (PS3.5 section 6.2)."""

from __future__ import annotations

import re
import struct
from functools import cache
from typing import Any

from irmsia.imaging.formats.elements import Encoding, HeaderElement

_CODES = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}
_SIZES = {code: struct.calcsize("<" + code) for code in _CODES.values()}
_TEXT = frozenset({b"AE", b"AS", b"CS", b"DA", b"LO", b"SH", b"UI"})
_OWN_CHARACTERS = frozenset({b"LO", b"SH"})
_DECIMAL = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *", re.ASCII)
_INTEGER = re.compile(r" *[+-]?\d{1,12} *", re.ASCII)
_ESCAPE = b"\x1b"  # begins another character set within a value


def read_plain_value(element: HeaderElement, encoding: Encoding, *, is_ascii: bool) -> Any:
    """The value as pydicom gives it, one or a list; None where it is not plain and pydicom has to say.

    Args:
        element: a top-level element.
        encoding: of the data set.
        is_ascii: whether ASCII bytes mean ASCII characters in the file's character set.
    """
    tag, vr, whole, at = element
    if not vr and encoding.implicit:
        vr = _vr_of(tag)
    raw = whole[at:]
    code = _CODES.get(vr)
    if code is not None:
        return _read_binary(raw, "<" if encoding.little else ">", code)
    if not raw.isascii() or _ESCAPE in raw:
        return None
    if vr in _TEXT:
        return _one_or_all(_parts(raw)) if is_ascii or vr not in _OWN_CHARACTERS else None
    if vr == b"DS":
        return _read_numbers(raw, _DECIMAL, float)
    return _read_numbers(raw, _INTEGER, int) if vr == b"IS" else None


@cache
def _vr_of(tag: int) -> bytes:
    """The dictionary's VR; empty for private elements and for those whose VR depends on others."""
    from pydicom._dicom_dict import DicomDictionary

    entry = DicomDictionary.get(tag)
    return b"" if entry is None or len(entry[0]) != 2 else entry[0].encode()


def _parts(raw: bytes) -> list[str]:
    text = raw.decode("ascii").rstrip("\0 ")
    return [part.rstrip("\0 ") for part in text.split("\\")] if "\\" in text else [text]


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _read_numbers(raw: bytes, pattern: re.Pattern[str], kind: type[Any]) -> Any:
    parts = _parts(raw)
    return _one_or_all([kind(part) for part in parts]) if all(map(pattern.fullmatch, parts)) else None


def _read_binary(raw: bytes, order: str, code: str) -> Any:
    size = _SIZES[code]
    if len(raw) == size:
        return struct.unpack(order + code, raw)[0]
    count, rest = divmod(len(raw), size)
    return None if rest or not count else list(struct.unpack(f"{order}{count}{code}", raw))
