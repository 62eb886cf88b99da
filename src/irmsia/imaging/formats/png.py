"""PNG files (W3C PNG, third edition): every chunk's length and checksum is checked before anything is inflated."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import DecodeFailedError, InconsistentHeaderError, TruncatedError
from irmsia.imaging.formats.exif import read_orientation
from irmsia.imaging.formats.source import Draft, Source, as_samples, check_pixels, decode_once
from irmsia.imaging.limits import ReadLimits

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _INDEX, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _INDEX: (1, 2, 4, 8), _GREY_ALPHA: (8, 16), _RGBA: (8, 16)}
_SAMPLES = {_GREY: 1, _RGB: 3, _INDEX: 3, _GREY_ALPHA: 2, _RGBA: 4}
_CODED = {**_SAMPLES, _INDEX: 1}
_MOST_INFLATED = 1032  # zlib: 258 bytes from two bits
_PHOTOMETRIC = {1: "GREY", 2: "GREY_ALPHA", 3: "RGB", 4: "RGBA"}
_DECODED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True, slots=True)
class _Head:
    rows: int
    columns: int
    depth: int
    colour: int
    transparent: bool

    @property
    def samples(self) -> int:
        """Samples a pixel as decoded: transparency beside grey, RGB or palette becomes an alpha sample."""
        return _SAMPLES[self.colour] + self.transparent


def open_png(data: memoryview, *, limits: ReadLimits, draft: Draft) -> Source:
    """Check all chunks of a PNG file and give its one frame.

    Raises:
        TruncatedError: it ends before its IEND chunk, or its stream cannot hold the pixels that the header says.
        DecodeFailedError: a checksum is wrong or the compressed data are broken.
        InconsistentHeaderError: an impossible header, or a palette index outside the palette.
        LimitExceededError: too many pixels.
    """
    chunks: dict[bytes, list[memoryview]] = {}
    for kind, body in _iter_chunks(data):
        if kind == b"IHDR" and not chunks:
            _check_header(body, limits)  # first of all: nothing more is looked at in a bomb
        chunks.setdefault(kind, []).append(body)
    head = _read_head(chunks)
    _check_stream(chunks[b"IDAT"], head)
    draft.learn(
        shape=(1, head.rows, head.columns, head.samples),
        dtype="uint16" if head.depth == 16 else "uint8",
        lossless=True,
        decoder=f"imagecodecs {imagecodecs.__version__} png",
    )
    exif = bytes(chunks[b"eXIf"][0]) if b"eXIf" in chunks else None
    draft.look(
        photometric=_PHOTOMETRIC[head.samples],
        bits_stored={1: 1, 16: 16}.get(head.depth, 8),
        exif_orientation=read_orientation(exif),
    )
    return Source(1, decode_once(lambda: _decode(chunks, head)))


def _iter_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = len(_SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise TruncatedError("the PNG file ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise TruncatedError("a PNG chunk announces more bytes than the file holds")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(data[at + 4 : end - 4]) != checksum:
            raise DecodeFailedError("the checksum of a PNG chunk is wrong")
        yield kind, data[at + 8 : end - 4]
        if kind == b"IEND":
            return
        at = end


def _check_header(body: memoryview, limits: ReadLimits) -> None:
    if len(body) != 13:
        raise InconsistentHeaderError("a PNG header of the wrong length")
    columns, rows = struct.unpack_from(">II", body)
    check_pixels(rows, columns, limits)


def _read_head(chunks: dict[bytes, list[memoryview]]) -> _Head:
    if next(iter(chunks)) != b"IHDR" or len(chunks[b"IHDR"]) != 1 or b"IDAT" not in chunks:
        raise InconsistentHeaderError("a PNG file without one header and image data")
    columns, rows, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"][0])
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1 or not rows or not columns:
        raise InconsistentHeaderError("an impossible PNG header")
    if colour == _INDEX and b"PLTE" not in chunks:
        raise InconsistentHeaderError("a palette PNG without a palette")
    return _Head(rows, columns, depth, colour, b"tRNS" in chunks and colour in (_GREY, _RGB, _INDEX))


def _check_stream(bodies: list[memoryview], head: _Head) -> None:
    """Before anything is allocated: no deflate stream gives more than `_MOST_INFLATED` times its bytes."""
    pixels = head.rows * head.columns * head.depth * _CODED[head.colour] // 8
    if pixels > _MOST_INFLATED * sum(map(len, bodies)):
        raise TruncatedError("the PNG stream is too short for the pixels that its header says")


def _decode(chunks: dict[bytes, list[memoryview]], head: _Head) -> NDArray[np.generic]:
    if head.colour == _INDEX:
        return _decode_palette(chunks, head)
    frame = as_samples(_decode_stream(_assemble(chunks, None)))
    if frame.shape != (head.rows, head.columns, head.samples):
        raise DecodeFailedError("the PNG stream decodes to another size than its header says")
    return np.ascontiguousarray(frame // 255 if head.depth == 1 else frame)


def _decode_palette(chunks: dict[bytes, list[memoryview]], head: _Head) -> NDArray[np.generic]:
    """Decode the indices as grey, so that one outside the palette is seen and not painted black."""
    grey = struct.pack(">IIBB", head.columns, head.rows, head.depth, _GREY) + bytes(chunks[b"IHDR"][0][10:])
    indices = _decode_stream(_assemble(chunks, grey)) // np.uint8(255 // ((1 << head.depth) - 1))
    colours = np.frombuffer(chunks[b"PLTE"][0][: len(chunks[b"PLTE"][0]) // 3 * 3], dtype=np.uint8).reshape(-1, 3)
    if indices.ndim != 2 or int(indices.max(initial=0)) >= len(colours):
        raise InconsistentHeaderError("a palette index outside the palette")
    if head.transparent:
        alpha = np.full((len(colours), 1), 255, dtype=np.uint8)
        given = np.frombuffer(chunks[b"tRNS"][0], dtype=np.uint8)[: len(colours)]
        alpha[: len(given), 0] = given
        colours = np.concatenate([colours, alpha], axis=1)
    return np.asarray(colours[indices])


def _assemble(chunks: dict[bytes, list[memoryview]], header: bytes | None) -> bytes:
    """A stream of the chunks that make the picture: no ancillary chunk is ever inflated."""
    kinds = _DECODED if header is None else (b"IHDR", b"IDAT", b"IEND")
    parts = [_SIGNATURE]
    for kind in kinds:
        for body in chunks.get(kind, []):
            content = header if header is not None and kind == b"IHDR" else body
            checksum = zlib.crc32(content, zlib.crc32(kind))
            parts += [struct.pack(">I", len(content)), kind, bytes(content), struct.pack(">I", checksum)]
    return b"".join(parts)


def _decode_stream(stream: bytes) -> NDArray[Any]:
    try:
        frame: NDArray[Any] = imagecodecs.png_decode(stream)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the codec's own errors
        raise DecodeFailedError("the PNG stream cannot be decoded") from None
    return frame
