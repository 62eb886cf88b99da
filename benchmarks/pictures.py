"""Images for the benchmarks of the doors: phantoms of the project, enlarged, native pixels. No file is needed."""

from __future__ import annotations

import io
from functools import cache

import cv2
import numpy as np
import pydicom

from irmsia.imaging.phantoms import PhantomKind, make_phantom

_SEED = 101


def enlarged(kind: PhantomKind, rows: int, columns: int, *, seed: int = _SEED) -> bytes:
    """A phantom with a bright lesion, resized to ``rows`` x ``columns`` pixels of 16 bits, marked as a phantom."""
    dataset = dataset_of(make_phantom(seed, kind, "bright").data)
    stored = cv2.resize(dataset.pixel_array, (columns, rows), interpolation=cv2.INTER_LINEAR)
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PixelData = np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).tobytes()
    return written(dataset)


def dataset_of(data: bytes) -> pydicom.FileDataset:
    """The data set of a DICOM file, to change."""
    return pydicom.dcmread(io.BytesIO(data))


def written(dataset: pydicom.FileDataset) -> bytes:
    """The DICOM file of a data set."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@cache
def ct_slice() -> bytes:
    """A CT slice of 512 x 512 pixels: 0.5 MB."""
    return enlarged("CT", 512, 512)


@cache
def mammogram() -> bytes:
    """A radiograph of a mammogram's size, 4096 x 2560 pixels: 21 MB."""
    return enlarged("DX", 4096, 2560)


@cache
def large_image() -> bytes:
    """A radiograph of 5000 x 5000 pixels: 50 MB."""
    return enlarged("DX", 5000, 5000)


def no_image(size: int) -> bytes:
    """Bytes that no reader recognises and no one can compress: an upload without the work of an answer."""
    return b"no image" + np.random.default_rng(1).bytes(size - 8)
