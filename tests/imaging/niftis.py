"""NIfTI files made by hand, field by field, so that each field can lie."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
FIELDS = {
    1: {"sizeof_hdr": (0, "i"), "dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"),
        "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"), "xyzt_units": (123, "B"),
        "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "3f"), "qoffset": (268, "3f"),
        "srow": (280, "12f"), "magic": (344, "4s")},
    2: {"sizeof_hdr": (0, "i"), "magic": (4, "8s"), "datatype": (12, "h"), "bitpix": (14, "h"), "dim": (16, "8q"),
        "pixdim": (104, "8d"), "vox_offset": (168, "q"), "scl_slope": (176, "d"), "scl_inter": (184, "d"),
        "qform_code": (344, "i"), "sform_code": (348, "i"), "quatern": (352, "3d"), "qoffset": (376, "3d"),
        "srow": (400, "12d"), "xyzt_units": (500, "i")},
}  # fmt: skip
_MAGIC = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}
_SIZE = {1: 348, 2: 540}


def nifti(
    voxels: NDArray[Any], *, version: int = 1, order: str = "<", samples: int = 1, tail: bytes = b"", **fields: Any
) -> bytes:
    """A whole file of ``voxels``, indexed (x, y, z, t) as NIfTI counts; ``fields`` are written instead of the truth.

    ``samples``: the last axis of ``voxels`` is a colour of so many samples.
    """
    shape = voxels.shape[:-1] if samples > 1 else voxels.shape
    kind = voxels.dtype.newbyteorder("=").str[1:]
    truth: dict[str, Any] = {
        "sizeof_hdr": _SIZE[version],
        "dim": (len(shape), *shape, *[1] * (7 - len(shape))),
        "datatype": {3: 128, 4: 2304}.get(samples) or CODES[kind],
        "bitpix": 8 * voxels.dtype.itemsize * samples,
        "pixdim": (1, *[2.0, 3.0, 4.0], *[1] * 4),
        "vox_offset": _SIZE[version] + 4,
        "xyzt_units": 2,
        "magic": _MAGIC[version],
    } | fields
    head = bytearray(_SIZE[version] + 4)
    for name, value in truth.items():
        at, layout = FIELDS[version][name]
        struct.pack_into(order + layout, head, at, *(value if isinstance(value, tuple) else (value,)))
    turned = np.moveaxis(voxels, -1, 0) if samples > 1 else voxels
    return bytes(head) + turned.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F") + tail


def texture(shape: tuple[int, ...], dtype: str = "int16") -> NDArray[Any]:
    """Values that tell every voxel from its neighbours, whole numbers, negative ones where the type has them."""
    kind = np.dtype(dtype)
    values = np.arange(int(np.prod(shape)), dtype=np.int64) * 37
    span = 250 if kind.itemsize == 1 else 30_000
    return (
        (values % span - (span // 2 if kind.kind in "if" else 0))
        .astype(np.int64 if kind.kind == "f" else kind)
        .astype(kind)
        .reshape(shape, order="F")
    )
