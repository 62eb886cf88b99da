"""The entries of a TAR archive, in one pass; nothing it says is believed before it was checked.

Layout: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual, "Basic Tar Format"
(long names ``L``, numbers in base 256).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from irmsia.datasets.collect.archive_names import ArchiveLimits, NameBook
from irmsia.errors import ArchiveRejectedError, TruncatedError, UnsupportedError

BLOCK = 512

Read = Callable[[int], bytes]
"""So many of the next bytes; fewer only at the end."""

_REGULAR, _FOLDER = b"0\0007", b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"xX", b"g", b"L", b"K"
_REFUSED = b"12346"
_MOST_HEADER = 1 << 20
_MOST_PADDING = 16 << 20
_MOST_SIZE, _MOST_OCTAL = 1 << 62, 1 << 33
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    kind: bytes
    size: int


def is_tar(block: bytes) -> bool:
    """Whether a first block is the header of an entry, by its checksum. An archive without entries is none."""
    return len(block) == BLOCK and _is_summed(block)


def read_tar(read: Read, limits: ArchiveLimits) -> Iterator[tuple[str, bool, Iterator[bytes]]]:
    """Path, whether it is a folder, and content of every entry. A content is to be read before the next entry.

    Raises:
        ArchiveRejectedError: an entry that leads outside, is no regular file, or lies.
        UnsupportedError: sparse files, parts of several volumes.
        TruncatedError: it ends early.
        LimitExceededError: it becomes more than allowed.
    """
    book = NameBook(limits)
    for header in _headers(read):
        is_folder = header.kind == _FOLDER or header.name.endswith(b"/")
        if is_folder and header.size:
            raise ArchiveRejectedError("the archive holds a folder with content")
        path = book.enter(_text(header.name), is_folder=is_folder)
        content = _Content(read, header.size)
        yield path, is_folder, iter(content)
        content.skip()


class _Content:
    """The bytes of one entry and the zeros that fill its last block."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._left = size
        self._padding = -size % BLOCK

    def __iter__(self) -> Iterator[bytes]:
        while self._left:
            piece = self._read(min(_PIECE, self._left))
            if not piece:
                raise TruncatedError("the archive ends within an entry")
            self._left -= len(piece)
            yield piece

    def skip(self) -> None:
        """Go to the next header."""
        for _ in self:
            pass
        _exactly(self._read, self._padding)


def _headers(read: Read) -> Iterator[_Header]:
    """Every entry that is a file or a folder, with what the headers before it say of it."""
    told: dict[str, bytes] = {}
    while (header := _header(read)) is not None:
        if header.kind in _PAX or header.kind == _PAX_GLOBAL:
            told |= _pax(_small(read, header), is_global=header.kind == _PAX_GLOBAL)
        elif header.kind == _LONG_NAME:
            told["path"] = _small(read, header).rstrip(b"\0")
        elif header.kind == _LONG_LINK:
            raise ArchiveRejectedError("the archive holds a link, a device or what is no regular file")
        else:
            _check_kind(header.kind)
            yield _Header(told.get("path", header.name), header.kind, _told_size(told, header.size))
            told = {}
    if told:
        raise TruncatedError("the archive ends within an entry")


def _header(read: Read) -> _Header | None:
    """The next block; null at the end of the archive, which must be marked and followed by nothing but zeros."""
    block = read(BLOCK)
    if len(block) < BLOCK:
        raise TruncatedError("the archive ends without its end mark")
    if not block.strip(b"\0"):
        _check_end(read)
        return None
    if not _is_summed(block):
        raise ArchiveRejectedError("the archive holds a damaged header")
    name, prefix = block[:100].split(b"\0")[0], b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0")[0]
    return _Header(prefix + b"/" + name if prefix else name, block[156:157], _number(block[124:136]))


def _check_end(read: Read) -> None:
    left = _MOST_PADDING
    while piece := read(_PIECE):
        left -= len(piece)
        if piece.strip(b"\0") or left < 0:
            raise ArchiveRejectedError("the archive holds bytes after its end")


def _check_kind(kind: bytes) -> None:
    if kind in _REFUSED:
        raise ArchiveRejectedError("the archive holds a link, a device or what is no regular file")
    if kind not in _REGULAR and kind != _FOLDER:
        raise UnsupportedError("the archive holds an entry of a kind that is not read")


def _is_summed(block: bytes) -> bool:
    """The sum of the header's bytes, its own field as spaces; as signed bytes in very old archives."""
    found = re.fullmatch(rb"[ \0]*([0-7]+)[ \0]*", block[148:156])
    if found is None:
        return False
    filled = block[:148] + b" " * 8 + block[156:]
    signed = sum(value - 256 if value > 127 else value for value in filled)
    return int(found[1], 8) in (sum(filled), signed)


def _number(field: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:])
    else:
        found = re.fullmatch(rb"[ \0]*([0-7]*)[ \0]*", field)
        if found is None:
            raise ArchiveRejectedError("the archive holds a damaged header")
        number = int(found[1] or b"0", 8)
    return _checked_size(number)


def _told_size(told: dict[str, bytes], size: int) -> int:
    if "size" not in told:
        return size
    if not re.fullmatch(rb"[0-9]{1,19}", told["size"]):
        raise ArchiveRejectedError("the archive holds a damaged header")
    number = _checked_size(int(told["size"]))
    if number != size and number < _MOST_OCTAL:  # the header itself could have said so
        raise ArchiveRejectedError("the archive lies about the size of an entry")
    return number


def _checked_size(size: int) -> int:
    if size > _MOST_SIZE:
        raise ArchiveRejectedError("the archive lies about the size of an entry")
    return size


def _small(read: Read, header: _Header) -> bytes:
    """The content of a header of headers."""
    if header.size > _MOST_HEADER:
        raise ArchiveRejectedError("the archive holds a header of more than a mebibyte")
    return _exactly(read, header.size + -header.size % BLOCK)[: header.size]


def _pax(data: bytes, *, is_global: bool) -> dict[str, bytes]:
    """Path and size of a pax header: lines of ``LENGTH KEY=VALUE``."""
    told: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        found = re.compile(rb"([0-9]{1,7}) ([^=\0]+)=").match(data, at)
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(data) or data[end - 1] != 0x0A:
            raise ArchiveRejectedError("the archive holds a damaged header")
        key = found[2].decode("utf-8", "replace")
        if key.startswith("GNU.sparse."):
            raise UnsupportedError("the archive holds sparse files, which are not read")
        if key == "linkpath" or (is_global and key in ("path", "size")):
            raise ArchiveRejectedError("the archive holds a link, a device or what is no regular file")
        if key in ("path", "size"):
            told[key] = data[found.end() : end - 1]
        at = end
    return told


def _exactly(read: Read, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = read(count - len(data))
        if not piece:
            raise TruncatedError("the archive ends within an entry")
        data += piece
    return data


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")
