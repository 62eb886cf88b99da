"""The one EXIF value that changes how a picture is looked at: its orientation (EXIF 2.32, tag 0112H)."""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112
_UPRIGHT = 1


def read_orientation(tiff: bytes | None) -> int:
    """Orientation 1..8 of an EXIF block (a TIFF header, its first directory); 1 where there is none or it is broken."""
    if not tiff or tiff[:4] not in (b"II*\0", b"MM\0*"):
        return _UPRIGHT
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, at)
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, at + 2 + 12 * index)
            if tag == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else _UPRIGHT
    except struct.error:
        return _UPRIGHT
    return _UPRIGHT
