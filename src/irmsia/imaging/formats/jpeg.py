"""JPEG files (ITU-T T.81): baseline, extended, progressive, lossless; grey, colour and CMYK; JPEG-LS as well."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import DecodeFailedError, InconsistentHeaderError
from irmsia.imaging.formats.exif import read_orientation
from irmsia.imaging.formats.marker import JpegStream, parse_jpeg
from irmsia.imaging.formats.source import Draft, Source, as_samples, check_pixels, decode_once
from irmsia.imaging.limits import ReadLimits

_PHOTOMETRIC = {1: "GREY", 3: "RGB", 4: "CMYK"}


def open_jpeg(data: memoryview, *, limits: ReadLimits, draft: Draft) -> Source:
    """Check the markers of a JPEG file and give its one frame; the EXIF orientation is told, not applied.

    Raises:
        TruncatedError: no end marker.
        DecodeFailedError: broken markers.
        InconsistentHeaderError: no rows, no columns, or a strange number of components.
        LimitExceededError: too many pixels.
    """
    stream = bytes(data)
    head = parse_jpeg(stream)
    check_pixels(head.rows, head.columns, limits)
    if not head.rows or not head.columns or head.components not in _PHOTOMETRIC:
        raise InconsistentHeaderError("a JPEG frame header without a size or with a strange number of components")
    orientation = read_orientation(head.exif)
    codec = "jpegls" if head.jpeg_ls else "jpeg8"
    draft.learn(
        shape=(1, head.rows, head.columns, head.components),
        dtype="uint8" if head.precision <= 8 else "uint16",
        lossless=head.lossless,
        decoder=f"imagecodecs {imagecodecs.__version__} {codec}",
    )
    draft.look(photometric=_PHOTOMETRIC[head.components], bits_stored=head.precision, exif_orientation=orientation)
    return Source(1, decode_once(lambda: _decode(stream, head)))


def _decode(stream: bytes, head: JpegStream) -> NDArray[np.generic]:
    try:
        frame: NDArray[Any] = (imagecodecs.jpegls_decode if head.jpeg_ls else imagecodecs.jpeg8_decode)(stream)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the codec's own errors
        raise DecodeFailedError("the JPEG stream cannot be decoded") from None
    frame = as_samples(frame)
    if frame.shape != (head.rows, head.columns, head.components):
        raise DecodeFailedError("the JPEG stream decodes to another size than its header says")
    # Adobe writes ink inverted (255 = none); everybody reads CMYK as ink.
    is_adobe_cmyk = head.components == 4 and head.transform is not None
    return np.invert(frame) if is_adobe_cmyk else np.ascontiguousarray(frame)
