"""DICOM files: outside, header, pixels, in this order, each proved before the next is touched."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InconsistentHeaderError, NoPixelDataError, TruncatedError
from irmsia.imaging.formats.codecs import decode_stream, find_codec
from irmsia.imaging.formats.elements import PIXEL_DATA, Layout, PixelElement
from irmsia.imaging.formats.encapsulated import iter_encapsulated_frames, split_frames
from irmsia.imaging.formats.header import (
    CATALOGUED,
    WANTED,
    DicomDataset,
    DicomHeader,
    PixelHeader,
    check_limits,
    quiet,
    read_pixel_header,
    value_of,
)
from irmsia.imaging.formats.looks import check_palette_indices, read_frame_interpretations, read_interpretation
from irmsia.imaging.formats.native import check_native_size, decode_native, iter_native_frames, unpack_bits
from irmsia.imaging.formats.part10 import ENCAPSULATED_NATIVE, NATIVE, DicomBytes, inflate, unpack
from irmsia.imaging.formats.source import Draft, Source
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.metadata import read_catalogue_metadata, read_metadata
from irmsia.imaging.spacing import frame_geometry

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_DECODED_HERE = "irmsia native"
_PIXEL_URL = 0x00287FE0


def open_dicom(data: memoryview, *, limits: ReadLimits, draft: Draft, pseudonym_key: bytes | None) -> Source:
    """Read the header of a DICOM file into ``draft`` and give its frames.

    Raises:
        InputError: every leaf that contract section 1 lists for bytes.
    """
    unpacked = unpack(data, limits, WANTED, draft=draft)
    with quiet():
        dataset = DicomHeader(unpacked.layout, draft)
        read_metadata(dataset, draft, pseudonym_key)
        pixel = _require_pixels(unpacked.layout, dataset)
        header = read_pixel_header(dataset, pixel.tag, draft)
        _learn_pixels(header, draft)
        if not pixel.encapsulated:
            check_native_size(header, pixel.spans[0][1])
        check_limits(header, limits)
        draft.interpretation = read_interpretation(dataset, header)
        frames = _open_frames(unpacked, pixel, header, dataset=dataset, limits=limits, draft=draft)
        by_frame = read_frame_interpretations(dataset, draft.interpretation, frames=header.frames)
    return Source(header.frames, _checked(frames, draft), by_frame, frame_geometry(dataset, draft.info))


def read_dicom_header(data: memoryview, *, limits: ReadLimits, draft: Draft, pseudonym_key: bytes | None) -> None:
    """Read into ``draft`` what a catalogue takes of a header, and nothing behind the head of the pixel element.

    Raises:
        InputError: what the header alone shows to be wrong.
    """
    unpacked = unpack(data, limits, CATALOGUED, draft=draft, to_pixels=True)
    dataset = DicomHeader(unpacked.layout, draft)
    read_catalogue_metadata(dataset, draft, pseudonym_key)
    pixel = _require_pixels(unpacked.layout, dataset)
    header = read_pixel_header(dataset, pixel.tag, draft)
    _learn_pixels(header, draft)
    if not pixel.encapsulated:
        check_native_size(header, pixel.spans[0][1])
    check_limits(header, limits)


def _learn_pixels(header: PixelHeader, draft: Draft) -> None:
    draft.learn(shape=(header.frames, header.rows, header.columns, header.samples), dtype=header.dtype)


def _require_pixels(layout: Layout, dataset: DicomDataset) -> PixelElement:
    if layout.failure is not None:
        raise layout.failure
    if layout.pixel is not None:
        return layout.pixel
    # A file cut between two elements looks whole: an object that must have pixels and has none was cut.
    if _PIXEL_URL not in layout.tags and (_is_image_class(dataset) or 0x00280010 in layout.tags):
        raise TruncatedError("an image object that ends before its pixel data")
    if 0x00080016 not in layout.tags and 0x00041220 not in layout.tags and _is_cut_early(layout):
        raise TruncatedError("the data set ends before it says what it is")
    raise NoPixelDataError("the DICOM file holds no pixel data")


def _is_cut_early(layout: Layout) -> bool:
    """Whether nothing follows the first elements of group 0008, as in no whole object."""
    return max(layout.tags, default=0) < 0x00080016


def _is_image_class(dataset: DicomDataset) -> bool:
    from pydicom.uid import UID

    uid = value_of(dataset, "SOPClassUID")
    name = UID(str(uid)).name if uid else ""
    return "Image Storage" in name or name in {"Segmentation Storage", "Parametric Map Storage"}


def _open_frames(
    unpacked: DicomBytes,
    pixel: PixelElement,
    header: PixelHeader,
    *,
    dataset: DicomDataset,
    limits: ReadLimits,
    draft: Draft,
) -> Iterator[NDArray[np.generic]]:
    syntax, data = unpacked.transfer_syntax, unpacked.data
    if not pixel.encapsulated:
        return _open_native(unpacked, pixel, header, draft)
    if pixel.tag != PIXEL_DATA:
        raise InconsistentHeaderError("floating point pixel data in fragments")
    if syntax in {ENCAPSULATED_NATIVE, DEFLATED_FRAMES}:
        frames = split_frames(pixel, dataset, frames=header.frames, data=data, start=b"")
        decode = _decode_whole if syntax == ENCAPSULATED_NATIVE else _decode_deflated
        draft.learn(decoder=_DECODED_HERE)
        _learn_lossless(draft, True)
        return iter_encapsulated_frames(data, frames, partial(decode, header=header, limits=limits))
    if syntax in NATIVE:
        raise InconsistentHeaderError("fragments of pixel data under a transfer syntax without compression")
    codec = find_codec(syntax)
    draft.learn(decoder=codec.name)
    _learn_lossless(draft, codec.lossless)
    frames = split_frames(pixel, dataset, frames=header.frames, data=data, start=codec.start)
    return iter_encapsulated_frames(data, frames, lambda stream: decode_stream(codec, stream, header, draft))


def _open_native(
    unpacked: DicomBytes, pixel: PixelElement, header: PixelHeader, draft: Draft
) -> Iterator[NDArray[np.generic]]:
    if unpacked.transfer_syntax not in NATIVE:
        find_codec(unpacked.transfer_syntax)  # an unknown syntax is UNSUPPORTED, a known one is contradicted
        raise InconsistentHeaderError("pixel data without fragments under a compressed transfer syntax")
    draft.learn(decoder=_DECODED_HERE)
    _learn_lossless(draft, True)
    (at, length), *_ = pixel.spans
    encoding = unpacked.layout.encoding
    words = pixel.vr != b"OB"
    value = unpacked.data[at : at + length]
    return iter_native_frames(value, header, little=encoding.little, words=words, draft=draft)


def _learn_lossless(draft: Draft, lossless: bool) -> None:
    """A step that lost something cannot be undone by a later lossless one."""
    draft.learn(lossless=lossless and draft.lossless is not False)


def _decode_whole(raw: bytes, *, header: PixelHeader, limits: ReadLimits) -> NDArray[np.generic]:
    del limits
    size = (header.frame_bits + 7) // 8
    if len(raw) < size:
        raise InconsistentHeaderError(f"a frame of {len(raw)} bytes where the header asks for {size}")
    return unpack_bits(raw, header) if header.allocated == 1 else decode_native(raw[:size], header)


def _decode_deflated(raw: bytes, *, header: PixelHeader, limits: ReadLimits) -> NDArray[np.generic]:
    """Each frame is a deflate stream of its own (PS3.5 annex A.4.13); a frame of bits starts on a byte."""
    size = (header.frame_bits + 7) // 8
    whole = bytes(inflate(memoryview(raw), min(limits.inflated_bytes, size + 1)))
    return _decode_whole(whole, header=header, limits=limits)


def _checked(frames: Iterator[NDArray[np.generic]], draft: Draft) -> Iterator[NDArray[np.generic]]:
    for frame in frames:
        check_palette_indices(frame, draft.interpretation)
        yield frame
