"""JPEG 2000 codestream heads (ITU-T T.800 annex A): size, depth and sign, without decoding."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from irmsia.errors import DecodeFailedError, TruncatedError, UnsupportedError

_CODESTREAM = b"\xff\x4f\xff\x51"
_BOX_FILE = b"\x00\x00\x00\x0cjP  "
_COD, _SOT = 0xFF52, 0xFF90
_END = b"\xff\xd9"
_IRREVERSIBLE = 0
_MOST_COMPONENTS = 16


@dataclass(frozen=True, slots=True)
class Jpeg2000Stream:
    """Main header of a codestream. ``codestream`` is without the boxes of a JP2 file."""

    codestream: bytes
    rows: int
    columns: int
    components: int
    precision: int
    signed: bool
    reversible: bool
    colour_transform: bool


def parse_jpeg2000(stream: bytes) -> Jpeg2000Stream:
    """Read the main header.

    Raises:
        DecodeFailedError: no codestream, or one whose head is broken.
        TruncatedError: it has no end marker.
        UnsupportedError: components of different size or depth.
    """
    if stream.startswith(_BOX_FILE):
        stream = stream[max(0, stream.find(_CODESTREAM)) :]
    if not stream.startswith(_CODESTREAM):
        raise DecodeFailedError("the compressed frame is no JPEG 2000 codestream")
    try:
        size = _read_size(stream)
        reversible, transform = _read_coding(stream)
    except struct.error:
        raise TruncatedError("the JPEG 2000 codestream ends inside its main header") from None
    if _END not in stream[-8:]:
        raise TruncatedError("the JPEG 2000 codestream has no end marker")
    return Jpeg2000Stream(stream, *size, reversible, transform)


def _read_size(stream: bytes) -> tuple[int, int, int, int, bool]:
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    (components,) = struct.unpack_from(">H", stream, 40)
    if not 1 <= components <= _MOST_COMPONENTS:
        raise DecodeFailedError("a JPEG 2000 codestream with an impossible number of components")
    kinds = {struct.unpack_from(">3B", stream, 42 + 3 * index) for index in range(components)}
    if len(kinds) != 1 or next(iter(kinds))[1:] != (1, 1):
        raise UnsupportedError("a JPEG 2000 codestream whose components differ in size or depth")
    depth = next(iter(kinds))[0]
    return bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80)


def _read_coding(stream: bytes) -> tuple[bool, bool]:
    """Whether the wavelet is the reversible one, and whether a component transform was applied."""
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", stream, at)
        if marker == _COD:
            transform = stream[at + 8]
            (wavelet,) = struct.unpack_from(">B", stream, at + 13)
            return wavelet != _IRREVERSIBLE, bool(transform)
        if marker == _SOT or marker < 0xFF00 or length < 2:
            raise DecodeFailedError("a JPEG 2000 main header without coding style")
        at += 2 + length
