"""JPEG marker segments (ITU-T T.81, T.87): what a stream says of itself, without decoding it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from irmsia.errors import DecodeFailedError, TruncatedError

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_SOF_LS = 0xF7
_SOF = frozenset({*range(0xC0, 0xD0), _SOF_LS} - {0xC4, 0xC8, 0xCC})
_LOSSLESS_SOF = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
# JPEG-LS stuffs a bit, not a byte: FF is followed by a byte below 80 in the scan.
_NEXT_MARKER_LS = re.compile(rb"\xff+([\x80-\xcf\xd8-\xfe])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JpegStream:
    """Frame header and colour markers. ``transform`` is Adobe's 0, 1 or 2; ``near`` JPEG-LS's largest error."""

    sof: int
    precision: int
    rows: int
    columns: int
    components: int
    jfif: bool
    transform: int | None
    exif: bytes | None
    near: int

    @property
    def lossless(self) -> bool:
        """Whether nothing was lost: the process of T.81 annex H, or JPEG-LS that allows no difference."""
        return self.sof in _LOSSLESS_SOF or (self.jpeg_ls and self.near == 0)

    @property
    def jpeg_ls(self) -> bool:
        """Whether the stream is JPEG-LS (T.87)."""
        return self.sof == _SOF_LS


def parse_jpeg(stream: bytes) -> JpegStream:
    """Walk all markers from SOI to EOI.

    Raises:
        DecodeFailedError: no JPEG stream, or none with one frame header before its first scan.
        TruncatedError: the bytes end before EOI.
    """
    if stream[:2] != b"\xff\xd8":
        raise DecodeFailedError("the compressed frame does not begin with a JPEG start marker")
    return _Walk(stream).run()


class _Walk:
    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._frame: tuple[int, int, int, int, int] | None = None
        self._jfif = False
        self._transform: int | None = None
        self._exif: bytes | None = None
        self._near = 0
        self._scans = 0

    def run(self) -> JpegStream:
        at = 2
        while True:
            marker, at = self._marker(at)
            if marker == _EOI:
                return self._result()
            if marker not in _STANDALONE:
                at = self._segment(marker, at)

    def _marker(self, at: int) -> tuple[int, int]:
        """The marker at ``at`` or, after a scan, the next one behind its coded data; and the offset behind it."""
        pattern = _NEXT_MARKER_LS if self._frame and self._frame[0] == _SOF_LS else _NEXT_MARKER
        found = pattern.search(self._stream, at)
        if found is None:
            raise TruncatedError("the JPEG stream ends before its end marker")
        if found.start() != at and not self._scans:
            raise DecodeFailedError("bytes between the marker segments of a JPEG header")
        return found.group(1)[0], found.end()

    def _segment(self, marker: int, at: int) -> int:
        if at + 2 > len(self._stream):
            raise TruncatedError("the JPEG stream ends inside a marker segment")
        (length,) = struct.unpack_from(">H", self._stream, at)
        end = at + int(length)
        if length < 2:
            raise DecodeFailedError("a JPEG marker segment has an impossible length")
        if end > len(self._stream):
            raise TruncatedError("the JPEG stream ends inside a marker segment")
        self._note(marker, self._stream[at + 2 : end])
        return end

    def _note(self, marker: int, body: bytes) -> None:
        if marker in _SOF:
            self._note_frame(marker, body)
        elif marker == _SOS:
            self._note_scan(body)
        elif marker == _APP0 and body.startswith(b"JFIF\0"):
            self._jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            self._transform = body[11]
        elif marker == _APP1 and body.startswith(b"Exif\0\0") and self._exif is None:
            self._exif = body[6:]

    def _note_scan(self, body: bytes) -> None:
        if self._frame is None:
            raise DecodeFailedError("a JPEG scan without a frame header")
        self._scans += 1
        if self._frame[0] == _SOF_LS and body:
            near = body[1 + 2 * body[0] :]  # behind the components (T.87 C.2.3)
            self._near = max(self._near, near[0] if near else 0)

    def _note_frame(self, marker: int, body: bytes) -> None:
        if len(body) < 6 or len(body) < 6 + 3 * body[5]:
            raise DecodeFailedError("a JPEG frame header is too short")
        if self._frame is not None:
            raise DecodeFailedError("a JPEG stream with two frame headers")
        self._frame = (marker, *struct.unpack_from(">BHHB", body))

    def _result(self) -> JpegStream:
        if self._frame is None or not self._scans:
            raise DecodeFailedError("a JPEG stream without an image")
        return JpegStream(*self._frame, self._jfif, self._transform, self._exif, self._near)
