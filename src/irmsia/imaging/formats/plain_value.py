"""Header values that need no library: ASCII text, clean numbers in text, binary numbers (PS3.5 section 6.2)."""

from __future__ import annotations

import re
import struct
from functools import cache
from typing import Any

from irmsia.imaging.formats.elements import Encoding, HeaderElement

_KINDS = {
    b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d", b"DS": "decimal", b"IS": "integer",
    b"AE": "text", b"AS": "text", b"CS": "text", b"DA": "text", b"UI": "text", b"LO": "own text", b"SH": "own text",
}  # fmt: skip
_SIZES = {"H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "d": 8}
_DECIMAL = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *", re.ASCII), float
_INTEGER = re.compile(r" *[+-]?\d{1,12} *", re.ASCII), int
_ESCAPE = b"\x1b"  # begins another character set within a value


def read_plain_value(element: HeaderElement, encoding: Encoding, *, is_ascii: bool) -> Any:
    """The value as pydicom gives it, one or a list; None where it is not plain and pydicom has to say; "" where empty.

    Args:
        element: a top-level element.
        encoding: of the data set.
        is_ascii: whether ASCII bytes mean ASCII characters in the file's character set.
    """
    tag, vr, whole, at = element
    if not vr and encoding.implicit:
        vr = _vr_of(tag)
    raw = whole[at:]
    kind = _KINDS.get(vr)
    if kind is None:
        return None
    if not raw:
        return ""
    if kind in _SIZES:
        return _read_binary(raw, "<" if encoding.little else ">", kind)
    if not raw.isascii() or _ESCAPE in raw or (kind == "own text" and not is_ascii):
        return None
    text = raw.decode("ascii").rstrip("\0 ")
    if kind in ("text", "own text"):
        return [part.rstrip("\0 ") for part in text.split("\\")] if "\\" in text else text
    return _read_numbers(text, *(_DECIMAL if kind == "decimal" else _INTEGER))


@cache
def _vr_of(tag: int) -> bytes:
    """The dictionary's VR; empty for private elements and for those whose VR depends on others."""
    from pydicom._dicom_dict import DicomDictionary

    entry = DicomDictionary.get(tag)
    return b"" if entry is None or len(entry[0]) != 2 else entry[0].encode()


def _read_numbers(text: str, pattern: re.Pattern[str], kind: type[Any]) -> Any:
    if "\\" not in text:
        return kind(text) if pattern.fullmatch(text) else None
    parts = text.split("\\")
    return [kind(part) for part in parts] if all(map(pattern.fullmatch, parts)) else None


def _read_binary(raw: bytes, order: str, code: str) -> Any:
    size = _SIZES[code]
    if len(raw) == size:
        return struct.unpack(order + code, raw)[0]
    count, rest = divmod(len(raw), size)
    return None if rest or not count else list(struct.unpack(f"{order}{count}{code}", raw))
