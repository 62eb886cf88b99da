"""Small files made for the tests: DICOM by hand or by pydicom, PNG and JPEG by Pillow."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from irmsia.imaging.limits import ReadLimits

LIMITS = ReadLimits()
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def make_dataset(frames: NDArray[Any], *, stored: int | None = None, **elements: Any) -> Dataset:
    """A CT-like data set of (frames, rows, columns, samples) values, native pixel data little endian."""
    count, rows, columns, samples = frames.shape
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, samples
    dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        dataset.PlanarConfiguration = 0
    bits = frames.dtype.itemsize * 8
    dataset.BitsAllocated = bits
    dataset.BitsStored = stored or bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    if count > 1:
        dataset.NumberOfFrames = count
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = frames.tobytes()
    return dataset


def write(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, frames: NDArray[Any] | None = None) -> bytes:
    """The Part 10 file. ``frames``: the pixels to write in the byte order or compression of ``syntax``."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == RLELossless and frames is not None:
        dataset.PixelData = encapsulate([rle_frame(frame) for frame in frames])
    elif syntax == ExplicitVRBigEndian and frames is not None:
        dataset.PixelData = frames.astype(frames.dtype.newbyteorder(">")).tobytes()
    elif frames is not None:
        dataset.PixelData = frames.tobytes()
    is_bytes = syntax == RLELossless or (syntax != ImplicitVRLittleEndian and dataset.BitsAllocated <= 8)
    dataset["PixelData"].VR = "OB" if is_bytes else "OW"
    dataset["PixelData"].is_undefined_length = syntax == RLELossless
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    buffer = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return buffer.getvalue()


def rle_frame(frame: NDArray[Any]) -> bytes:
    """RLE of (rows, columns, samples) in literal runs only: valid, simple, and not the code under test."""
    width = frame.dtype.itemsize
    planes = frame.astype(frame.dtype.newbyteorder("<")).view(np.uint8).reshape(*frame.shape, width)
    segments = []
    for sample in range(frame.shape[2]):
        for byte in reversed(range(width)):
            plane = planes[:, :, sample, byte].tobytes()
            runs = [plane[at : at + 128] for at in range(0, len(plane), 128)]
            packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
            segments.append(packed + b"\x80" * (len(packed) % 2))
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    table = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments)))
    return table + b"".join(segments)


def picture(array: NDArray[Any], kind: str, **options: Any) -> bytes:
    """``array`` written by Pillow as PNG, JPEG ..."""
    buffer = io.BytesIO()
    PillowImage.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(rows: int = 24, columns: int = 32) -> NDArray[np.uint8]:
    """A smooth asymmetric uint8 picture."""
    row, column = np.mgrid[:rows, :columns]
    return ((row * 5 + column * 3) % 256).astype(np.uint8)


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """One explicit VR little endian element, with a forged length where one is given."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HI", 0, size) if long else struct.pack("<H", size)) + value


def part10(body: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file around an encoded data set."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return b"\0" * 128 + b"DICM" + element(0x00020010, b"UI", uid) + body


def pixel_elements(rows: int, columns: int, *, allocated: int = 8, stored: int | None = None, frames: int = 1) -> bytes:
    """The Image Pixel module without its pixels."""
    short = lambda tag, value: element(tag, b"US", struct.pack("<H", value))  # noqa: E731 - a table row
    count = str(frames).encode()
    stored = stored or allocated
    return b"".join(
        [
            short(0x00280002, 1),
            element(0x00280004, b"CS", b"MONOCHROME2 "),
            element(0x00280008, b"IS", count + b" " * (len(count) % 2)),
            short(0x00280010, rows),
            short(0x00280011, columns),
            short(0x00280100, allocated),
            short(0x00280101, stored),
            short(0x00280102, stored - 1),
            short(0x00280103, 0),
        ]
    )
