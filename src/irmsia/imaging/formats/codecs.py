"""Which decoder undoes which transfer syntax, one row each; a codestream is believed before the header.

imagecodecs (libjpeg-turbo 3, CharLS, OpenJPEG) decodes all of them. It was chosen over pydicom's plug-ins because it
alone reads 12-bit extended JPEG, and it is exact on every lossless file of the test data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import DecodeFailedError, InconsistentHeaderError, IrmsiaError, UnsupportedError
from irmsia.imaging.formats.header import PixelHeader
from irmsia.imaging.formats.jpeg2000 import parse_jpeg2000
from irmsia.imaging.formats.marker import JpegStream, parse_jpeg
from irmsia.imaging.formats.native import extend_sign
from irmsia.imaging.formats.rle import decode_rle
from irmsia.imaging.formats.source import Draft, as_samples

Decode = Callable[[bytes, PixelHeader, Draft], NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Codec:
    """A decoder of one frame: ``name`` reaches the evidence, ``start`` are the bytes every frame begins with."""

    name: str
    decode: Decode
    lossless: bool
    start: bytes


def decode_stream(codec: Codec, stream: bytes, header: PixelHeader, draft: Draft) -> NDArray[np.generic]:
    """Decode one frame to (rows, columns, samples).

    Raises:
        DecodeFailedError: the decoder refuses the stream; and what `Codec.decode` raises on purpose.
    """
    try:
        frame = codec.decode(stream, header, draft)
    except (IrmsiaError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - each codec has its own errors, and their texts are not ours to show
        raise DecodeFailedError("the compressed frame cannot be decoded") from None
    if frame.shape != (header.rows, header.columns, header.samples):
        raise InconsistentHeaderError("the decoded frame has another shape than the header says")
    return np.ascontiguousarray(frame)


def _check_size(rows: int, columns: int, components: int, header: PixelHeader) -> None:
    if (rows, columns, components) != (header.rows, header.columns, header.samples):
        raise InconsistentHeaderError(
            f"the codestream holds {rows} x {columns} x {components}, "
            f"the header says {header.rows} x {header.columns} x {header.samples}"
        )


def _fit(
    frame: NDArray[Any], header: PixelHeader, *, precision: int, signed: bool, draft: Draft
) -> NDArray[np.generic]:
    """The codestream's values in the type that BitsAllocated names, or a wider one where they need it."""
    if precision != header.stored:
        draft.warn("HEADER_MISMATCH", f"the codestream has {precision} bits, the header says {header.stored}")
        draft.look(bits_stored=precision)
    if signed != (header.kind == "i"):
        draft.warn("HEADER_MISMATCH", "the codestream and the header disagree about the sign")
        draft.look(signed=signed)
    width = max(8, header.allocated, 8 if precision <= 8 else 16 if precision <= 16 else 32)
    return as_samples(frame).astype(f"{'i' if signed else 'u'}{width // 8}", copy=False)


def _decode_jpeg_lossless(stream: bytes, header: PixelHeader, draft: Draft) -> NDArray[np.generic]:
    head = parse_jpeg(stream)
    if not head.lossless or head.jpeg_ls:
        raise DecodeFailedError("the stream is no lossless JPEG")
    _check_size(head.rows, head.columns, head.components, header)
    # "RGB" to "RGB": three components as coded, whatever markers say; the lossless process knows no colour transform.
    space = "RGB" if head.components == 3 else None
    frame = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    return _fit_unsigned(frame, header, head.precision, draft)


def _decode_jpeg_ls(stream: bytes, header: PixelHeader, draft: Draft) -> NDArray[np.generic]:
    head = parse_jpeg(stream)
    if not head.jpeg_ls:
        raise DecodeFailedError("the stream is no JPEG-LS")
    _check_size(head.rows, head.columns, head.components, header)
    if not head.lossless:
        draft.learn(lossless=False)
    return _fit_unsigned(imagecodecs.jpegls_decode(stream), header, head.precision, draft)


def _fit_unsigned(frame: NDArray[Any], header: PixelHeader, precision: int, draft: Draft) -> NDArray[np.generic]:
    """JPEG and JPEG-LS know no sign: the header's is the only word on it."""
    signed = header.kind == "i"
    if signed:
        frame = extend_sign(frame, precision)
    return _fit(frame, header, precision=precision, signed=signed, draft=draft)


def _decode_jpeg_lossy(stream: bytes, header: PixelHeader, draft: Draft) -> NDArray[np.generic]:
    head = parse_jpeg(stream)
    if head.jpeg_ls:
        raise DecodeFailedError("the stream is JPEG-LS")
    _check_size(head.rows, head.columns, head.components, header)
    if head.components != 3:
        frame = imagecodecs.jpeg8_decode(stream)
    elif _is_ycbcr(head, header, draft):
        frame = imagecodecs.jpeg8_decode(stream, colorspace="YCBCR", outcolorspace="RGB")
        draft.look(photometric="RGB")
    else:
        frame = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
        draft.look(photometric="RGB")
    return _fit_unsigned(frame, header, head.precision, draft)


def _is_ycbcr(head: JpegStream, header: PixelHeader, draft: Draft) -> bool:
    """Contract section 1: markers first, then PhotometricInterpretation."""
    says_ybr = header.photometric.startswith("YBR_")
    if head.transform is None and not head.jfif:
        return says_ybr
    is_ybr = head.jfif or head.transform != 0  # JFIF knows YCbCr alone, also beside Adobe's word, as libjpeg reads it
    if is_ybr != says_ybr:
        draft.warn("HEADER_MISMATCH", "PhotometricInterpretation and the markers of the JPEG stream disagree")
    return is_ybr


def _decode_jpeg2000(stream: bytes, header: PixelHeader, draft: Draft) -> NDArray[np.generic]:
    head = parse_jpeg2000(stream)
    _check_size(head.rows, head.columns, head.components, header)
    if not head.reversible:
        draft.learn(lossless=False)
    if head.components == 3 and (head.colour_transform or header.photometric in {"YBR_RCT", "YBR_ICT"}):
        draft.look(photometric="RGB")
    frame = imagecodecs.jpeg2k_decode(head.codestream, numthreads=1)
    return _fit(frame, header, precision=head.precision, signed=head.signed, draft=draft)


def _decode_rle(stream: bytes, header: PixelHeader, draft: Draft) -> NDArray[np.generic]:
    del draft  # nothing in an RLE frame can contradict the header but its size
    return decode_rle(stream, header)


def _version(name: str) -> str:
    return f"imagecodecs {imagecodecs.__version__} {name}"


_JPEG, _J2K = b"\xff\xd8", b"\xff\x4f"
_LOSSY = Codec(_version("jpeg8"), _decode_jpeg_lossy, False, _JPEG)
_LOSSLESS = Codec(_version("jpeg8"), _decode_jpeg_lossless, True, _JPEG)
_LS = Codec(_version("jpegls"), _decode_jpeg_ls, True, _JPEG)
_LS_NEAR = Codec(_version("jpegls"), _decode_jpeg_ls, False, _JPEG)
_J2K_LOSSLESS = Codec(_version("jpeg2k"), _decode_jpeg2000, True, _J2K)
_J2K_LOSSY = Codec(_version("jpeg2k"), _decode_jpeg2000, False, _J2K)
CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.5": Codec(_version("packbits"), _decode_rle, True, b""),
    "1.2.840.10008.1.2.4.50": _LOSSY,
    "1.2.840.10008.1.2.4.51": _LOSSY,
    "1.2.840.10008.1.2.4.53": _LOSSY,
    "1.2.840.10008.1.2.4.55": _LOSSY,
    "1.2.840.10008.1.2.4.57": _LOSSLESS,
    "1.2.840.10008.1.2.4.70": _LOSSLESS,
    "1.2.840.10008.1.2.4.80": _LS,
    "1.2.840.10008.1.2.4.81": _LS_NEAR,
    "1.2.840.10008.1.2.4.90": _J2K_LOSSLESS,
    "1.2.840.10008.1.2.4.91": _J2K_LOSSY,
    "1.2.840.10008.1.2.4.201": _J2K_LOSSLESS,
    "1.2.840.10008.1.2.4.202": _J2K_LOSSLESS,
    "1.2.840.10008.1.2.4.203": _J2K_LOSSY,
}


def find_codec(transfer_syntax: str) -> Codec:
    """The decoder of a compressed transfer syntax.

    Raises:
        UnsupportedError: video, JPIP and syntaxes nobody here reads.
    """
    codec = CODECS.get(transfer_syntax)
    if codec is None:
        raise UnsupportedError("a transfer syntax that is not read")
    return codec
