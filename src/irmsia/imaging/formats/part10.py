"""The outside of a DICOM file: preamble, file meta information, transfer syntax, deflate (PS3.10, PS3.5 annex A)."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Set
from dataclasses import dataclass

from irmsia.errors import DecodeFailedError, LimitExceededError, TruncatedError
from irmsia.imaging.formats.elements import Encoding, Layout, scan
from irmsia.imaging.formats.source import Draft
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.recognise import DICOM_MAGIC_AT

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.1.98"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG})

_TRANSFER_SYNTAX = 0x00020010
_LONG_META_VRS = frozenset({b"OB", b"OW", b"UN", b"UT", b"UC", b"UR", b"SQ"})
_LONGEST_UID = 64
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_INFLATE_STEP = 1 << 20
_KEPT_AT_ONCE = 4 << 20


@dataclass(frozen=True, slots=True)
class DicomBytes:
    """A data set ready to be interpreted: inflated where it was deflated, its structure checked."""

    data: memoryview
    transfer_syntax: str
    layout: Layout


def unpack(
    data: memoryview, limits: ReadLimits, wanted: Set[int], *, draft: Draft, to_pixels: bool = False
) -> DicomBytes:
    """Find the data set of a DICOM file, inflate it within the limit and check its structure.

    ``draft`` learns the transfer syntax first, so that it is known whatever comes. ``to_pixels``: look no further than
    the head of the pixel element.

    Raises:
        TruncatedError: the file ends before its data set, or the deflated stream does not end.
        LimitExceededError: it inflates past the limit.
        DecodeFailedError: the deflated stream is broken.
    """
    start, syntax = _read_meta(data)
    if start >= len(data):
        raise TruncatedError("the file ends before its first data element")
    if syntax is None:
        syntax = _guess_syntax(data, start)
    draft.learn(transfer_syntax=syntax if is_uid(syntax) else None)
    if syntax == DEFLATED:
        data, start = memoryview(inflate(data[start:], limits.inflated_bytes)), 0
    encoding = Encoding(implicit=syntax == IMPLICIT_LITTLE, little=syntax != EXPLICIT_BIG)
    layout = scan(data, start, encoding=encoding, limits=limits, wanted=wanted, to_pixels=to_pixels)
    return DicomBytes(data, syntax, layout)


def is_uid(text: str) -> bool:
    """Whether ``text`` is what a UID looks like (PS3.5 section 9.1); anything else there may be a patient's name."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _read_meta(data: memoryview) -> tuple[int, str | None]:
    """Offset behind the file meta information, which is always explicit VR little endian, and the syntax it names.

    Its group length is not trusted: writers get it wrong.
    """
    at = DICOM_MAGIC_AT + 4 if bytes(data[DICOM_MAGIC_AT : DICOM_MAGIC_AT + 4]) == b"DICM" else 0
    syntax = None
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        if group != 0x0002:
            break
        value = at + 8
        if vr in _LONG_META_VRS:
            if at + 12 > len(data):
                raise TruncatedError("the file ends inside its meta information")
            (length,) = struct.unpack_from("<I", data, at + 8)
            value = at + 12
        if value + length > len(data):
            raise TruncatedError("the file ends inside its meta information")
        if group << 16 | element == _TRANSFER_SYNTAX:
            named = bytes(data[value : value + min(length, _LONGEST_UID)])
            syntax = named.decode("ascii", "replace").strip("\0 ")
        at = value + length
    return at, syntax or None


def _guess_syntax(data: memoryview, start: int) -> str:
    """Without file meta information: by the first element's group and whether a VR follows its tag."""
    head = bytes(data[start : start + 8])
    if len(head) < 8:
        raise TruncatedError("the file ends before its first data element")
    has_vr = 0x41 <= head[4] <= 0x5A and 0x41 <= head[5] <= 0x5A
    if not has_vr:
        return IMPLICIT_LITTLE
    (group,) = struct.unpack_from("<H", head)
    return EXPLICIT_LITTLE if group < 0x0100 else EXPLICIT_BIG


def inflate(packed: memoryview, limit: int) -> bytearray:
    """Inflate a raw deflate stream of at most ``limit`` bytes; zero bytes behind it are ignored.

    What proves large is counted first and then inflated again, so that a bomb costs a few megabytes.

    Raises:
        LimitExceededError: it inflates past the limit.
        TruncatedError: the stream does not end.
        DecodeFailedError: it is no deflate stream.
    """
    size = 0
    whole = bytearray()
    for piece in _inflated_pieces(packed, limit):
        size += len(piece)
        if size <= _KEPT_AT_ONCE:
            whole += piece
        else:
            whole = bytearray()
    if size <= _KEPT_AT_ONCE:
        return whole
    whole = bytearray(size)
    at = 0
    for piece in _inflated_pieces(packed, limit):
        whole[at : at + len(piece)] = piece
        at += len(piece)
    return whole


def _inflated_pieces(packed: memoryview, limit: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    total = at = 0
    while not stream.eof:
        step = packed[at : at + _INFLATE_STEP]
        at += len(step)
        waiting: bytes | memoryview = step
        while True:
            piece = _inflate_step(stream, waiting)
            total += len(piece)
            if total > limit:
                raise LimitExceededError(f"the deflated data inflates past {limit} bytes")
            yield piece
            waiting = stream.unconsumed_tail
            if stream.eof or not (waiting or len(piece) == _INFLATE_STEP):
                break
        if not step and not stream.eof:
            raise TruncatedError("the deflated stream does not end")


def _inflate_step(stream: zlib._Decompress, waiting: bytes | memoryview) -> bytes:
    try:
        return stream.decompress(waiting, _INFLATE_STEP)
    except zlib.error:
        raise DecodeFailedError("the deflated stream is broken") from None
