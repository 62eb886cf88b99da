"""Digests of pixels and files: the names by which evidence refers to what was seen."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def frame_digest(frame: NDArray[Any]) -> str:
    """SHA-256 (hex) of one frame's stored values, contract section 1.

    Args:
        frame: (rows, columns, samples) or (rows, columns), of the type the contract names. It is hashed row-major,
            samples interleaved, little-endian; memory layout and byte order of the array do not matter.
    """
    little = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
    return hashlib.sha256(little.data if little.size else b"").hexdigest()


def input_digest(data: bytes | memoryview) -> str:
    """SHA-256 (hex) of the bytes that came in."""
    return hashlib.sha256(data).hexdigest()
