"""What a NIfTI header says, proved by arithmetic before a voxel is touched (NIfTI-1.1 and NIfTI-2)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError, TruncatedError, UnsupportedError
from irmsia.imaging.formats.nifti_affine import Grid, read_affine
from irmsia.imaging.formats.source import Draft, check_frames, check_pixels
from irmsia.imaging.limits import ReadLimits

LARGEST_HEADER = 540
_SIZES = {348: "1", 540: "2"}
_EXTENSION_FLAG = 4
_MAGIC_AT = {"1": 344, "2": 4}
_SINGLE, _PAIR = {"1": b"n+1\0", "2": b"n+2\0\r\n\x1a\n"}, {"1": b"ni1\0", "2": b"ni2\0\r\n\x1a\n"}
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "1": {
        "dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"), "vox_offset": (108, "f"),
        "scl_slope": (112, "f"), "scl_inter": (116, "f"), "xyzt_units": (123, "B"), "qform_code": (252, "h"),
        "sform_code": (254, "h"), "quatern": (256, "3f"), "qoffset": (268, "3f"), "srow": (280, "12f"),
    },
    "2": {
        "dim": (16, "8q"), "datatype": (12, "h"), "bitpix": (14, "h"), "pixdim": (104, "8d"), "vox_offset": (168, "q"),
        "scl_slope": (176, "d"), "scl_inter": (184, "d"), "xyzt_units": (500, "i"), "qform_code": (344, "i"),
        "sform_code": (348, "i"), "quatern": (352, "3d"), "qoffset": (376, "3d"), "srow": (400, "12d"),
    },
}  # fmt: skip
"""Offset and type of every field that has a meaning here, by version."""

# datatype code -> numpy type, samples; all others are valid NIfTI and not read
_TYPES = {
    2: ("u1", 1), 4: ("i2", 1), 8: ("i4", 1), 16: ("f4", 1), 64: ("f8", 1), 128: ("u1", 3), 256: ("i1", 1),
    512: ("u2", 1), 768: ("u4", 1), 2304: ("u1", 4),
}  # fmt: skip
_KNOWN_TYPES = {
    1: "single bits", 32: "complex numbers", 1024: "64-bit integers", 1280: "64-bit integers",
    1536: "128-bit numbers", 1792: "complex numbers", 2048: "complex numbers",
}  # fmt: skip
_MOST_DIMENSIONS = 7
_READ_DIMENSIONS = 4
_LARGEST_RESCALE = 1e30  # what it makes of 32 bits stays far from the end of doubles


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """A checked header.

    ``dtype`` has the file's byte order. ``first``: where the voxels begin. ``slope``, ``intercept``: stored values to
    real ones. ``grid``: spacing, and the affine where the header places the voxels in space.
    """

    columns: int
    rows: int
    slices: int
    times: int
    samples: int
    dtype: np.dtype[Any]
    first: int
    slope: float
    intercept: float
    grid: Grid

    @property
    def frames(self) -> int:
        """Slices of all time points."""
        return self.slices * self.times

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.rows * self.columns * self.samples * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Where the last voxel ends."""
        return self.first + self.frames * self.frame_bytes


def header_size(head: bytes | memoryview) -> int:
    """How long the header is that begins with ``head``.

    Raises:
        TruncatedError: fewer than four bytes; InconsistentHeaderError: no NIfTI header.
    """
    return _version(head)[0]


def read_header(head: bytes | memoryview, *, limits: ReadLimits, draft: Draft) -> NiftiHeader:
    """Check the header of a single NIfTI file; ``draft`` hears what had to be assumed.

    Args:
        head: the whole header, as long as `header_size` says.
        limits: for pixels of a frame and frames.
        draft: gets warnings.

    Raises:
        UnsupportedError: voxels in another file, more than four dimensions, a type that is not read.
        InconsistentHeaderError: an impossible size, type, offset, spacing or scale.
        LimitExceededError: more pixels or frames than allowed.
        TruncatedError: the header is cut.
    """
    size, version, order = _version(head)
    if len(head) < size:
        raise TruncatedError("the NIfTI file ends inside its header")
    fields = {name: _unpack(head, at, order + kind) for name, (at, kind) in FIELDS[version].items()}
    _check_magic(bytes(head[_MAGIC_AT[version] :][:8]), version)
    columns, rows, slices, times = _read_shape(fields["dim"])
    dtype, samples = _read_type(int(fields["datatype"][0]), int(fields["bitpix"][0]), order)
    check_pixels(rows, columns, limits)
    check_frames(slices * times, limits)
    slope, intercept = _read_scale(fields["scl_slope"][0], fields["scl_inter"][0], samples)
    return NiftiHeader(
        columns, rows, slices, times, samples, dtype,
        _read_offset(fields["vox_offset"][0], size + _EXTENSION_FLAG), slope, intercept,
        read_affine(fields, int(fields["dim"][0]), draft),
    )  # fmt: skip


def _version(head: bytes | memoryview) -> tuple[int, str, str]:
    """Size, version and byte order, by the header's first number."""
    for order in "<>":
        (size,) = _unpack(head, 0, order + "i")
        if size in _SIZES:
            return size, _SIZES[size], order
    raise InconsistentHeaderError("no NIfTI header")


def _unpack(head: bytes | memoryview, at: int, layout: str) -> tuple[Any, ...]:
    if at + struct.calcsize(layout) > len(head):
        raise TruncatedError("the NIfTI file ends inside its header")
    return struct.unpack_from(layout, head, at)


def _check_magic(found: bytes, version: str) -> None:
    if found.startswith(_PAIR[version]):
        raise UnsupportedError("a NIfTI header whose voxels lie in another file; only single files (.nii) are read")
    if not found.startswith(_SINGLE[version]):
        raise InconsistentHeaderError("no NIfTI header: its magic is wrong")


def _read_shape(dim: tuple[int, ...]) -> tuple[int, int, int, int]:
    count, *sizes = dim
    if not 1 <= count <= _MOST_DIMENSIONS:
        raise InconsistentHeaderError(f"a NIfTI file of {count} dimensions")
    used = [*sizes[:count], *[1] * (_MOST_DIMENSIONS - count)]
    if min(used) < 1:
        raise InconsistentHeaderError("a dimension of the NIfTI file is below 1")
    if any(size > 1 for size in used[_READ_DIMENSIONS:]):
        raise UnsupportedError("a NIfTI file of more than four dimensions")
    return used[0], used[1], used[2], used[3]


def _read_type(datatype: int, bitpix: int, order: str) -> tuple[np.dtype[Any], int]:
    if datatype in _KNOWN_TYPES:
        raise UnsupportedError(f"a NIfTI file of {_KNOWN_TYPES[datatype]}")
    if datatype not in _TYPES:
        raise InconsistentHeaderError(f"NIfTI data type {datatype} does not exist")
    kind, samples = _TYPES[datatype]
    dtype = np.dtype(order + kind)
    if bitpix != 8 * dtype.itemsize * samples:
        raise InconsistentHeaderError(f"{bitpix} bits a voxel do not fit NIfTI data type {datatype}")
    return dtype, samples


def _read_offset(stated: float, least: int) -> int:
    """Where the voxels begin; 0 means behind the header (NIfTI-1.1, ``vox_offset``)."""
    if not math.isfinite(stated) or stated != int(stated):
        raise InconsistentHeaderError("the voxels of the NIfTI file begin at no whole byte")
    if stated == 0:
        return least
    if stated < least:
        raise InconsistentHeaderError("the voxels of the NIfTI file begin within its header")
    return int(stated)


def _read_scale(slope: float, intercept: float, samples: int) -> tuple[float, float]:
    """A slope of 0, or none, means that stored values are the real ones; colours are never scaled."""
    if samples > 1 or not math.isfinite(slope) or slope == 0.0:
        return 1.0, 0.0
    if not math.isfinite(intercept) or max(abs(slope), abs(intercept)) > _LARGEST_RESCALE:
        raise InconsistentHeaderError("scl_slope or scl_inter is out of all range")
    return slope, intercept


def as_frame(raw: bytes | bytearray | memoryview, header: NiftiHeader) -> NDArray[Any]:
    """One frame of stored values (rows, columns, samples) in this machine's byte order; rows run along y."""
    stored = np.frombuffer(raw, dtype=header.dtype).reshape(header.rows, header.columns, header.samples)
    return stored.astype(header.dtype.newbyteorder("="), copy=False)
