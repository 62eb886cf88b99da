"""Which format some bytes are, by content and never by name."""

from __future__ import annotations

import struct

from irmsia.imaging.types import ImageFormat

DICOM_MAGIC_AT = 128
_DICM = b"DICM"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NIFTI_1, _NIFTI_2 = 348, 540  # a NIfTI header begins with its own size
_NIFTI_MAGIC = (b"n+1\0", b"ni1\0")
_NIFTI_2_MAGIC = (b"n+2", b"ni2")
GZIP = b"\x1f\x8b"
_PACKED_HEAD = 4096  # bytes of a gzip stream that hold its own header and the first of what it packs

# Groups that a data set without preamble may begin with: command set, file meta information, identification.
_FIRST_GROUPS = (0x0002, 0x0008)
EXPLICIT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_LONGEST_FIRST_VALUE = 1024


def recognise(data: bytes | memoryview) -> ImageFormat | None:
    """The format of ``data``, or None when it is none that the platform knows.

    ``DICM`` at byte 128 counts first: many DICOM files carry the magic of another format in their preamble.
    A DICOM data set without preamble is known by a plausible first element of group 0002 or 0008.
    """
    head = bytes(data[: DICOM_MAGIC_AT + 512])
    if head[DICOM_MAGIC_AT : DICOM_MAGIC_AT + 4] == _DICM:
        return ImageFormat.DICOM
    if head.startswith(_PNG):
        return ImageFormat.PNG
    if head.startswith(_JPEG):
        return ImageFormat.JPEG
    if head.startswith(_TIFF):
        return ImageFormat.TIFF
    if _is_bmp(head, len(data)):
        return ImageFormat.BMP
    if _is_nifti(data, head):
        return ImageFormat.NIFTI
    return ImageFormat.DICOM if _is_bare_dicom(head) else None


def _is_bmp(head: bytes, size: int) -> bool:
    if not head.startswith(b"BM") or len(head) < 26:
        return False
    pixels_at, header_size = struct.unpack_from("<II", head, 10)
    return header_size in {12, 16, 40, 52, 56, 64, 108, 124} and 14 + header_size <= pixels_at <= max(size, 1078)


def _is_nifti(data: bytes | memoryview, head: bytes) -> bool:
    if head.startswith(GZIP):
        return _is_packed_nifti(bytes(data[:_PACKED_HEAD]))
    if len(data) < _NIFTI_1:
        return False
    return _is_nifti_header(bytes(data[:_NIFTI_1]))


def _is_packed_nifti(head: bytes) -> bool:
    """A gzip stream that begins as a NIfTI header does, as far as it can be inflated."""
    import zlib

    try:
        start = zlib.decompressobj(31).decompress(head, _NIFTI_1)
    except zlib.error:
        return False
    return len(start) >= 4 and _is_nifti_header(start)


def _is_nifti_header(start: bytes) -> bool:
    """By size and magic; a start that is cut before the magic is believed by its size."""
    sizes = {struct.unpack_from(order + "i", start)[0] for order in "<>"}
    if _NIFTI_1 in sizes:
        return len(start) < _NIFTI_1 or start[344:348] in _NIFTI_MAGIC
    return _NIFTI_2 in sizes and (len(start) < 8 or start[4:7] in _NIFTI_2_MAGIC)


def _is_bare_dicom(head: bytes) -> bool:
    if len(head) < 12:
        return False
    return any(_is_first_element(head, order) for order in "<>")


def _is_first_element(head: bytes, order: str) -> bool:
    group, element, implicit_length = struct.unpack_from(order + "HHI", head)
    if group not in _FIRST_GROUPS or element > 0x0070:
        return False
    if head[4:6] in EXPLICIT_VRS:
        return True
    return group != 0x0002 and order == "<" and 0 < implicit_length <= _LONGEST_FIRST_VALUE
