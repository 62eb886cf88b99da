"""The entries of a ZIP archive, read one after the other; nothing it says is believed before it was checked.

Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (its end),
4.5.3 (ZIP64). The directory is read twice: once to judge all of it, then to unpack. Local headers must agree with it,
entries must not share bytes, and nothing may lie before or after them.
"""

from __future__ import annotations

import bisect
import stat
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from irmsia.datasets.collect.archive_names import ArchiveLimits, NameBook
from irmsia.datasets.collect.inflating import RAW, inflated
from irmsia.errors import ArchiveRejectedError, LimitExceededError, TruncatedError, UnsupportedError

START = b"PK\x03\x04"
EMPTY = b"PK\x05\x06"

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_MOST_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64 = 1
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_PATCH, _STREAMED, _UTF8 = 0x0020, 0x0008, 0x0800
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Directory:
    offset: int
    size: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Header:
    """One entry as the directory describes it."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int

    @property
    def name(self) -> str:
        """UTF-8 where the archive says so or where it is; else code page 437."""
        try:
            return self.raw_name.decode("utf-8")
        except UnicodeDecodeError:
            if self.flags & _UTF8:
                raise ArchiveRejectedError("the archive holds an entry whose name is no text") from None
            return self.raw_name.decode("cp437")

    @property
    def is_folder(self) -> bool:
        """Folders end in a slash."""
        return self.raw_name.endswith(b"/")


def read_zip(file: BinaryIO, size: int, limits: ArchiveLimits) -> Iterator[tuple[str, bool, Iterator[bytes]]]:
    """Path, whether it is a folder, and content of every entry. A content that is not read to its end is not proved.

    Args:
        file: the archive, at its beginning.
        size: bytes of it.
        limits: what it may become.

    Raises:
        ArchiveRejectedError: an entry that leads outside, is no regular file, overlaps another, or lies.
        UnsupportedError: encrypted, or packed in a way that is not read.
        TruncatedError: the directory is missing.
        LimitExceededError: it becomes more than allowed.
    """
    directory = _find_directory(file, size)
    offsets = _judge(file, directory, limits, size)
    book = NameBook(limits)
    for header in _headers(file, directory):
        path = book.enter(header.name, is_folder=header.is_folder)
        index = bisect.bisect_right(offsets, header.offset)
        end = offsets[index] if index < len(offsets) else directory.offset
        yield path, header.is_folder, _content(file, header, end)


def _find_directory(file: BinaryIO, size: int) -> _Directory:
    start = max(0, size - _END.size - _MOST_COMMENT)
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(EMPTY)
    while at >= 0:
        if at + _END.size <= len(tail):
            fields = _END.unpack_from(tail, at)
            if at + _END.size + fields[7] == len(tail):
                return _directory(file, fields, start + at)
        at = tail.rfind(EMPTY, 0, at)
    raise TruncatedError("the archive ends before its directory")


def _directory(file: BinaryIO, fields: tuple[int, ...], at: int) -> _Directory:
    _, disk, first_disk, here, entries, size, offset, _ = fields
    end = at
    if _FULL16 in (here, entries) or _FULL32 in (size, offset):
        found = _directory64(file, at)
        if found is not None:
            return found
    if disk or first_disk or here != entries:
        raise UnsupportedError("the archive is one part of several")
    if offset + size != end:
        raise ArchiveRejectedError("the archive's directory is not where it should be")
    return _Directory(offset, size, entries)


def _directory64(file: BinaryIO, at: int) -> _Directory | None:
    if at < _LOCATOR64.size:
        return None
    file.seek(at - _LOCATOR64.size)
    mark, _, place, disks = _LOCATOR64.unpack(file.read(_LOCATOR64.size))
    if mark != b"PK\x06\x07":
        return None
    if disks > 1:
        raise UnsupportedError("the archive is one part of several")
    if place + _END64.size > at - _LOCATOR64.size:
        raise ArchiveRejectedError("the archive's directory is not where it should be")
    file.seek(place)
    mark, _, _, _, _, _, here, entries, size, offset = _END64.unpack(file.read(_END64.size))
    if mark != b"PK\x06\x06" or here != entries or offset + size != place:
        raise ArchiveRejectedError("the archive's directory is not where it should be")
    return _Directory(offset, size, entries)


def _judge(file: BinaryIO, directory: _Directory, limits: ArchiveLimits, size: int) -> array[int]:
    """Look at every entry before one byte is written; the sorted places of the local headers."""
    if directory.entries > limits.entries:
        raise LimitExceededError(f"the archive holds more than {limits.entries} entries")
    book, unpacked = NameBook(limits), 0
    offsets, ends = array("Q"), array("Q")
    for header in _headers(file, directory):
        _check_kind(header)
        book.enter(header.name, is_folder=header.is_folder)
        unpacked += header.size
        limits.check_bytes(unpacked, size)
        offsets.append(header.offset)
        ends.append(header.offset + _LOCAL.size + len(header.raw_name) + header.packed)
    order = sorted(range(len(offsets)), key=offsets.__getitem__)
    limit = 0 if order else directory.offset
    for index in order:
        if offsets[index] < limit:
            raise ArchiveRejectedError("the archive holds entries that share bytes")
        limit = ends[index]
    if limit > directory.offset or (order and offsets[order[0]] != 0) or (not order and directory.offset):
        raise ArchiveRejectedError("the archive holds bytes outside its entries")
    return array("Q", (offsets[index] for index in order))


def _check_kind(header: _Header) -> None:
    if header.flags & _ENCRYPTED:
        raise UnsupportedError("the archive is encrypted")
    if header.method not in (_STORED, _DEFLATED) or header.flags & _PATCH:
        raise UnsupportedError("the archive is packed in a way that is not read: only stored and deflated entries are")
    kind = stat.S_IFMT(header.mode)
    expected = stat.S_IFDIR if header.is_folder else stat.S_IFREG
    if kind not in (0, expected):
        raise ArchiveRejectedError("the archive holds a link, a device or what is no regular file")
    if header.is_folder and (header.size or header.packed > 2):  # an empty deflated entry takes two bytes
        raise ArchiveRejectedError("the archive holds a folder with content")
    if header.method == _STORED and header.size != header.packed:
        raise ArchiveRejectedError("the archive lies about the size of an entry")


def _headers(file: BinaryIO, directory: _Directory) -> Iterator[_Header]:
    place, end = directory.offset, directory.offset + directory.size
    for _ in range(directory.entries):
        file.seek(place)
        head = file.read(_CENTRAL.size)
        if len(head) < _CENTRAL.size or place + _CENTRAL.size > end or head[:4] != b"PK\x01\x02":
            raise ArchiveRejectedError("the archive's directory is damaged")
        fields = _CENTRAL.unpack(head)
        name_length, extra_length, comment_length = fields[10:13]
        rest = file.read(name_length + extra_length)
        place += _CENTRAL.size + name_length + extra_length + comment_length
        if place > end or len(rest) < name_length + extra_length:
            raise ArchiveRejectedError("the archive's directory is damaged")
        yield _header(fields, rest[:name_length], rest[name_length:])
    if place != end:
        raise ArchiveRejectedError("the archive holds more entries than it says")


def _header(fields: tuple[int, ...], name: bytes, extra: bytes) -> _Header:
    size, packed, offset = _sizes64(extra, fields[9], fields[8], fields[16])
    if fields[13] not in (0, _FULL16):
        raise UnsupportedError("the archive is one part of several")
    return _Header(
        raw_name=name,
        flags=fields[3],
        method=fields[4],
        crc=fields[7],
        packed=packed,
        size=size,
        offset=offset,
        mode=fields[15] >> 16,
    )


def _sizes64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three numbers, each from the ZIP64 field where it does not fit into its own."""
    values = [size, packed, offset]
    if _FULL32 not in values:
        return size, packed, offset
    field, at = _extra_field(extra, _ZIP64), 0
    for index, value in enumerate(values):
        if value == _FULL32 and field is not None:
            if at + 8 > len(field):
                raise ArchiveRejectedError("the archive's directory is damaged")
            (values[index],) = struct.unpack_from("<Q", field, at)
            at += 8
    return values[0], values[1], values[2]


def _extra_field(extra: bytes, wanted: int) -> bytes | None:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return None


def _content(file: BinaryIO, header: _Header, end: int) -> Iterator[bytes]:
    """The bytes of an entry, checked against all that was said of them."""
    file.seek(_check_local(file, header, end))
    crc, size = 0, 0
    for piece in _unpacked(_pieces(file, header.packed), header):
        size += len(piece)
        if size > header.size:
            raise ArchiveRejectedError("the archive lies about the size of an entry")
        crc = zlib.crc32(piece, crc)
        yield piece
    if size != header.size or crc != header.crc:
        raise ArchiveRejectedError("an entry of the archive is not what its directory says")


def _check_local(file: BinaryIO, header: _Header, end: int) -> int:
    """Where the data of an entry begin."""
    file.seek(header.offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != START:
        raise ArchiveRejectedError("an entry of the archive is not where its directory says")
    fields = _LOCAL.unpack(head)
    flags, method, crc, packed, size, name_length, extra_length = (*fields[2:4], *fields[6:11])
    name, extra = file.read(name_length), file.read(extra_length)
    size, packed, _ = _sizes64(extra, size, packed, 0)
    same = (name, method, flags & _ENCRYPTED) == (header.raw_name, header.method, 0)
    told = (crc, packed, size) == (header.crc, header.packed, header.size)
    if not same or not (told or flags & _STREAMED):
        raise ArchiveRejectedError("an entry of the archive is not what its directory says")
    start: int = header.offset + _LOCAL.size + name_length + extra_length
    if start + header.packed > end:
        raise ArchiveRejectedError("the archive holds entries that share bytes")
    return start


def _pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    """The next bytes. The file may be moved between two pieces: each goes on where the last ended."""
    place = file.tell()
    while count:
        file.seek(place)
        piece = file.read(min(_PIECE, count))
        if not piece:
            raise TruncatedError("the archive ends within an entry")
        place, count = place + len(piece), count - len(piece)
        yield piece


def _unpacked(pieces: Iterator[bytes], header: _Header) -> Iterator[bytes]:
    if header.method == _STORED:
        yield from pieces
        return
    try:
        yield from inflated(pieces, RAW)
    except (zlib.error, EOFError):
        raise ArchiveRejectedError("an entry of the archive is damaged") from None
