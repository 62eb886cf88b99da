"""NIfTI files: version 1 and 2, one file, either byte order, plain or gzip; frames run over slices, then time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import DecodeFailedError, LimitExceededError, TruncatedError
from irmsia.imaging.formats.nifti_header import NiftiHeader, as_frame, header_size, read_header
from irmsia.imaging.formats.source import Draft, Source
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.recognise import GZIP

_PHOTOMETRIC = {1: "GREY", 3: "RGB", 4: "RGBA"}
_STEP = 1 << 18
_MOST_GROWTH = 1032  # no deflate stream grows more


def open_nifti(data: memoryview, *, limits: ReadLimits, draft: Draft) -> Source:
    """Check the header of a NIfTI file and give its frames; those of a gzip stream are inflated one at a time.

    Stored values are given; scl_slope and scl_inter go into the interpretation.

    Raises:
        TruncatedError: fewer bytes than the header announces, or a gzip stream that does not end.
        LimitExceededError: too many pixels or frames; gzip: more than ``limits.inflated_bytes``.
        DecodeFailedError: the gzip stream is broken.
        UnsupportedError, InconsistentHeaderError: see `read_header`.
    """
    voxels: _Bytes = _Inflater(data, limits.inflated_bytes) if bytes(data[:2]) == GZIP else _Plain(data)
    start = bytes(voxels.take(4))
    header = read_header(start + bytes(voxels.take(header_size(start) - 4)), limits=limits, draft=draft)
    voxels.check_end(header.end)
    draft.learn(
        shape=(header.frames, header.rows, header.columns, header.samples),
        dtype=header.dtype.name,
        spacing=header.grid.spacing,
        orientation=header.grid.orientation(),
        lossless=True,
        decoder="irmsia nifti",
    )
    draft.look(
        photometric=_PHOTOMETRIC[header.samples],
        bits_stored=8 * header.dtype.itemsize,
        signed=header.dtype.kind == "i",
        slope=header.slope,
        intercept=header.intercept,
    )
    geometry = None if header.grid.affine is None else lambda frame: header.grid.geometry(frame % header.slices)
    return Source(header.frames, _frames(voxels, header, draft), geometry=geometry)


def _frames(voxels: _Bytes, header: NiftiHeader, draft: Draft) -> Iterator[NDArray[np.generic]]:
    voxels.skip(header.first - voxels.at)
    for index in range(header.frames):
        raw = voxels.take(header.frame_bytes)
        if index == header.frames - 1 and voxels.finish():  # before the last frame is out: nobody asks for another
            draft.warn("HEADER_MISMATCH", "the NIfTI file is longer than its header says; the rest is left out")
        yield as_frame(raw, header)


class _Bytes(Protocol):
    """The bytes of a file from its start to its end; ``at``: how many were taken."""

    at: int

    def take(self, size: int) -> Any:
        """The next ``size`` bytes, or `TruncatedError`."""

    def skip(self, size: int) -> None:
        """Leave ``size`` bytes out."""

    def check_end(self, end: int) -> None:
        """Whether the file can hold ``end`` bytes, by arithmetic; raises where it cannot."""

    def finish(self) -> bool:
        """Check what is behind the last byte that was taken; whether there is anything but zero bytes."""


class _Plain:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> memoryview:
        self.check_end(self.at + size)
        piece = self._data[self.at : self.at + size]
        self.at += size
        return piece

    def skip(self, size: int) -> None:
        self.at += size

    def check_end(self, end: int) -> None:
        if end > len(self._data):
            raise TruncatedError(f"a NIfTI file of {len(self._data)} bytes whose header asks for {end}")

    def finish(self) -> bool:
        return any(self._data[self.at : self.at + _STEP])


class _Inflater:
    """A gzip stream of one or several members (RFC 1952), inflated as it is asked for, never past ``limit`` bytes."""

    def __init__(self, packed: memoryview, limit: int) -> None:
        self._packed = packed
        self._limit = limit
        self._read = 0
        self._member: Any = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.at = 0

    def check_end(self, end: int) -> None:
        if end > self._limit:
            raise LimitExceededError(f"the NIfTI file inflates to {end} bytes; the limit is {self._limit}")
        if end > _MOST_GROWTH * len(self._packed):
            raise TruncatedError("the gzip stream is too short for what the NIfTI header asks for")

    def take(self, size: int) -> bytearray:
        whole = bytearray()
        while len(whole) < size:
            piece = self._inflate(min(size - len(whole), _STEP))
            if not piece:
                raise TruncatedError("the gzip stream ends before the voxels do")
            whole += piece
        return whole

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, _STEP)))

    def finish(self) -> bool:
        """Inflate what is left, so that every checksum is compared."""
        rest = False
        while piece := self._inflate(_STEP):
            rest = rest or any(piece)
        return rest or any(self._packed[self._read : self._read + _STEP])

    def _inflate(self, most: int) -> bytes:
        """The next bytes, at most ``most``; none where the last member has ended.

        Raises:
            TruncatedError: a member does not end; DecodeFailedError: it is broken; LimitExceededError: it is too long.
        """
        while True:
            if self._member.eof and not self._next_member():
                return b""
            step = self._packed[self._read : self._read + _STEP]
            try:
                piece = bytes(self._member.decompress(step, most))
            except zlib.error:
                raise DecodeFailedError("the gzip stream is broken") from None
            left = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._read += len(step) - len(left)
            self.at += len(piece)
            if self.at > self._limit:
                raise LimitExceededError(f"the gzip stream inflates past {self._limit} bytes")
            if piece:
                return piece
            if not len(step) and not self._member.eof:
                raise TruncatedError("the gzip stream does not end")

    def _next_member(self) -> bool:
        if bytes(self._packed[self._read : self._read + 2]) != GZIP:
            return False
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return True
