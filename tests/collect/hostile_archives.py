"""Archives that must never be unpacked (safety line I8), each with its trick and the errors that are right.

Made on the spot, byte by byte where no library writes such a thing.
"""

from __future__ import annotations

import functools
import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from irmsia.datasets.collect.archive_names import ArchiveLimits
from irmsia.errors import (
    ArchiveRejectedError,
    IrmsiaError,
    LimitExceededError,
    TruncatedError,
    UnsupportedError,
)

LIMITS = ArchiveLimits(bytes=80 * 1024 * 1024, entries=2000, ratio=200.0)
"""Those of the tests: small, so that a bomb is a bomb."""
_LINK, _DEVICE, _FIFO, _SOCKET = 0o120777 << 16, 0o020666 << 16, 0o010644 << 16, 0o140755 << 16
REJECTED: tuple[type[IrmsiaError], ...] = (ArchiveRejectedError,)


@dataclass(frozen=True)
class Hostile:
    """One archive."""

    trick: str
    make: Callable[[], bytes]
    errors: tuple[type[IrmsiaError], ...] = REJECTED


@dataclass
class Entry:
    """One entry of a ZIP; ``local`` and ``central`` replace what its headers would say."""

    name: bytes
    data: bytes = b"x"
    method: int = 0
    attributes: int = 0o100644 << 16
    flags: int = 0x0800
    local: dict[str, object] = field(default_factory=dict)
    central: dict[str, object] = field(default_factory=dict)

    def packed(self) -> bytes:
        """The bytes that are stored."""
        if self.method != 8:
            return self.data
        return _deflated(self.data)

    def fields(self, told: dict[str, object]) -> dict[str, object]:
        """What a header says."""
        packed = self.packed()
        return {
            "name": self.name,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.data),
            "packed": len(packed),
            "size": len(self.data),
            "extra": b"",
        } | told


@functools.lru_cache(maxsize=4)
def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush()


def make_zip(entries: Sequence[Entry], *, count: int | None = None, prefix: bytes = b"", tail: bytes = b"") -> bytes:
    """A ZIP archive of these entries; ``count`` is what its end says."""
    body, directory = bytearray(prefix), bytearray()
    for entry in entries:
        offset = len(body)
        body += _header(b"PK\3\4", entry.fields(entry.local)) + entry.packed()
        told = entry.fields(entry.central)
        directory += _central(told, entry.central.get("offset", offset), entry.attributes)
    number = len(entries) if count is None else count
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, len(directory), len(body), 0)
    return bytes(body + directory + end) + tail


def _header(mark: bytes, told: dict[str, object]) -> bytes:
    numbers = (20, told["flags"], told["method"], 0, 33, told["crc"], told["packed"], told["size"])
    name, extra = told["name"], told["extra"]
    assert isinstance(name, bytes) and isinstance(extra, bytes)
    return struct.pack("<4s5H3I2H", mark, *numbers, len(name), len(extra)) + name + extra


def _central(told: dict[str, object], offset: object, attributes: int) -> bytes:
    numbers = (0x0314, 20, told["flags"], told["method"], 0, 33, told["crc"], told["packed"], told["size"])
    name, extra = told["name"], told["extra"]
    assert isinstance(name, bytes) and isinstance(extra, bytes)
    lengths = (len(name), len(extra), 0, 0, 0, attributes, offset)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", *numbers, *lengths) + name + extra


def make_tar(members: Sequence[tuple[str, bytes, dict[str, object]]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A TAR archive: name, content, fields of `tarfile.TarInfo`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content, told in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in told.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _zip(*entries: Entry, **more: object) -> Callable[[], bytes]:
    return lambda: make_zip(entries, **more)  # type: ignore[arg-type]


def _named(name: bytes) -> Callable[[], bytes]:
    return _zip(Entry(b"good"), Entry(name))


def _tar(name: str, content: bytes = b"x", **told: object) -> Callable[[], bytes]:
    return lambda: make_tar([("good", b"x", {}), (name, content, told)])


def _pax(headers: dict[str, str]) -> Callable[[], bytes]:
    return lambda: make_tar([("good", b"x", {"pax_headers": headers})], tarfile.PAX_FORMAT)


def _gz(make: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: gzip.compress(make(), mtime=0)


def _zeros(count: int) -> bytes:
    return bytes(count)


def _patched(data: bytes, at: int, value: bytes) -> bytes:
    """A TAR whose first header holds something else, with a right checksum."""
    head = bytearray(data[:512])
    head[at : at + len(value)] = value
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data[512:]


def _encrypted() -> bytes:
    return make_zip([Entry(b"good", flags=0x0801)])


def _quoted_overlap() -> bytes:
    """Many entries whose data are the same bytes (a bomb without a ratio in any single entry)."""
    kernel = Entry(b"0", _zeros(1_000_000), 8)
    return make_zip([kernel, *(Entry(b"%d" % n, kernel.data, 8, central={"offset": 0}) for n in range(1, 50))])


def _half_overlap() -> bytes:
    """The second entry's header lies in the data of the first."""
    inner = make_zip([Entry(b"inner", b"y" * 20)])[: 30 + 5 + 20]
    outer = make_zip([Entry(b"outer", inner), Entry(b"inner", b"y" * 20, central={"offset": 35})])
    return outer


def _two_headers() -> bytes:
    """A pax header that says 1 byte of a file whose header says 512, to slip a header past a reader."""
    return make_tar([("good", b"x" * 512, {"pax_headers": {"size": "1"}})], tarfile.PAX_FORMAT)


def _long_name_bomb() -> bytes:
    data = make_tar([("x" * 300, b"x", {})])
    return _patched(data, 124, b"77777777777\0")


def _end64(data: bytes, entries: int) -> bytes:
    """A ZIP64 end that says so many entries."""
    _, _, _, _, _, size, offset, _ = struct.unpack("<4s4H2IH", data[-22:])
    place = len(data) - 22
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, place, 1)
    return data[:-22] + end + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, offset, 0)


_GOOD = make_zip([Entry(b"good", b"x" * 100)])
_GOOD_TAR = make_tar([("good", b"x" * 600, {}), ("more", b"y" * 700, {})])
_LIMIT: tuple[type[IrmsiaError], ...] = (LimitExceededError,)
_KIND: tuple[type[IrmsiaError], ...] = (UnsupportedError,)
_SHORT: tuple[type[IrmsiaError], ...] = (TruncatedError,)

_ZIP_NAMES = [
    Hostile("zip: dots lead outside", _named(b"../outside")),
    Hostile("zip: dots in the middle", _named(b"a/../../outside")),
    Hostile("zip: absolute", _named(b"/outside")),
    Hostile("zip: absolute, doubled slash", _named(b"//outside")),
    Hostile("zip: a drive letter", _named(b"C:\\outside")),
    Hostile("zip: a drive letter with a slash", _named(b"C:/outside")),
    Hostile("zip: backslashes", _named(b"..\\..\\outside")),
    Hostile("zip: NUL in a name", _named(b"good.txt\0.exe")),
    Hostile("zip: a line break in a name", _named(b"a\nb")),
    Hostile("zip: a part of 300 bytes", _named(b"a" * 300)),
    Hostile("zip: a path of 5000 bytes", _named(b"/".join([b"abcd"] * 1000))),
    Hostile("zip: 200 folders deep", _named(b"d/" * 200 + b"x")),
    Hostile("zip: no name", _named(b"")),
    Hostile("zip: a name of a dot", _named(b".")),
    Hostile("zip: a name that is no UTF-8 but says so", _named(b"\xff\xfe")),
    Hostile("zip: the same name twice", _zip(Entry(b"a"), Entry(b"a", b"y"))),
    Hostile("zip: names that differ in capitals", _zip(Entry(b"Readme"), Entry(b"README"))),
    Hostile("zip: names that differ in composition", _zip(Entry("é".encode()), Entry("e\u0301".encode()))),
    Hostile("zip: a file that is a folder too", _zip(Entry(b"a"), Entry(b"a/b"))),
    Hostile("zip: folders that differ in capitals", _zip(Entry(b"Img/1"), Entry(b"img/2"))),
]
_ZIP_KINDS = [
    Hostile("zip: a symbolic link", _zip(Entry(b"l", b"/etc/passwd", attributes=_LINK))),
    Hostile("zip: a link and a file through it", _zip(Entry(b"l", b"/tmp", attributes=_LINK), Entry(b"l/x"))),
    Hostile("zip: a device", _zip(Entry(b"d", b"", attributes=_DEVICE))),
    Hostile("zip: a pipe", _zip(Entry(b"p", b"", attributes=_FIFO))),
    Hostile("zip: a socket", _zip(Entry(b"s", b"", attributes=_SOCKET))),
    Hostile("zip: a folder with content", _zip(Entry(b"d/", b"content"))),
    Hostile("zip: encrypted", _encrypted, _KIND),
    Hostile("zip: packed by an unknown method", _zip(Entry(b"a", method=99)), _KIND),
]
_ZIP_LIES = [
    Hostile("zip: overlapping entries, one kernel", _quoted_overlap),
    Hostile("zip: an entry inside another", _half_overlap),
    Hostile(
        "zip: says fewer bytes than there are", _zip(Entry(b"a", b"x" * 99, 8, central={"size": 9}, local={"size": 9}))
    ),
    Hostile(
        "zip: says more bytes than there are", _zip(Entry(b"a", b"x" * 9, 8, central={"size": 99}, local={"size": 99}))
    ),
    Hostile("zip: wrong CRC", _zip(Entry(b"a", central={"crc": 1}, local={"crc": 1}))),
    Hostile("zip: another name in the local header", _zip(Entry(b"good", local={"name": b"../x"}))),
    Hostile("zip: another method in the local header", _zip(Entry(b"a", b"x", 0, local={"method": 8}))),
    Hostile("zip: another size in the local header", _zip(Entry(b"a", b"xy", local={"size": 1}))),
    Hostile("zip: the local header is elsewhere", _zip(Entry(b"a", central={"offset": 3}))),
    Hostile("zip: data reach into the directory", _zip(Entry(b"a", central={"packed": 99, "size": 99}))),
    Hostile("zip: more entries than it says", _zip(Entry(b"a"), Entry(b"b"), count=1)),
    Hostile("zip: fewer entries than it says", _zip(Entry(b"a"), count=2)),
    Hostile("zip: something before the first entry", lambda: b"PK\3\4" + b"#" * 60 + make_zip([Entry(b"a")])),
    Hostile("zip: cut in the middle", lambda: _GOOD[:90], _SHORT),
    Hostile("zip: without its directory", lambda: _GOOD[:134], _SHORT),
    Hostile("zip: something after its end", lambda: _GOOD + b"tail", _SHORT),
    Hostile("zip: deflated garbage", _zip(Entry(b"a", b"\xff" * 50, local={"method": 8}, central={"method": 8}))),
]
_BOMBS = [
    Hostile("zip: a bomb by ratio", _zip(Entry(b"a", _zeros(70_000_000), 8)), _LIMIT),
    Hostile("zip: a bomb that says little", _zip(
        Entry(b"a", _zeros(70_000_000), 8, local={"size": 10}, central={"size": 10}))),
    Hostile("zip: says an exabyte", _zip(Entry(b"a", b"x", 8, central={
        "size": 0xFFFFFFFF, "extra": struct.pack("<2HQ", 1, 8, 1 << 60)}, local={"size": 0xFFFFFFFF})), _LIMIT),
    Hostile("zip: 3000 entries", _zip(*(Entry(b"%d" % n, b"") for n in range(3000))), _LIMIT),
    Hostile("zip: says a million entries", lambda: _end64(_GOOD, 1_000_000), _LIMIT),
    Hostile("tar.gz: a bomb by ratio", _gz(lambda: make_tar([("a", _zeros(70_000_000), {})])), _LIMIT),
    Hostile("tar.gz: zeros without end after the end", _gz(lambda: _GOOD_TAR + _zeros(50_000_000))),
    Hostile("tar: 3000 entries", lambda: make_tar([(str(n), b"", {}) for n in range(3000)]), _LIMIT),
    Hostile("gz: a bomb by ratio", lambda: gzip.compress(_zeros(70_000_000), mtime=0), _LIMIT),
    Hostile("gz: more than the limit", lambda: gzip.compress(_zeros(81 * 1024 * 1024), 0, mtime=0), _LIMIT),
]  # fmt: skip
_TARS = [
    Hostile("tar: dots lead outside", _tar("../outside")),
    Hostile("tar: absolute", _tar("/outside")),
    Hostile("tar: a symbolic link", _tar("l", b"", type=tarfile.SYMTYPE, linkname="/etc")),
    Hostile("tar: a hard link outside", _tar("l", b"", type=tarfile.LNKTYPE, linkname="../../etc/passwd")),
    Hostile("tar: a link, then a file through it", lambda: make_tar(
        [("l", b"", {"type": tarfile.SYMTYPE, "linkname": "/tmp"}), ("l/x", b"x", {})])),
    Hostile("tar: a character device", _tar("d", b"", type=tarfile.CHRTYPE)),
    Hostile("tar: a block device", _tar("d", b"", type=tarfile.BLKTYPE)),
    Hostile("tar: a pipe", _tar("p", b"", type=tarfile.FIFOTYPE)),
    Hostile("tar: an unknown kind", _tar("u", b"", type=b"Z"), _KIND),
    Hostile("tar: sparse", _pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), _KIND),
    Hostile("tar: a path of pax that leads outside", _pax({"path": "../../outside"})),
    Hostile("tar: a size of pax that lies", _two_headers),
    Hostile("tar: a link of pax", _pax({"linkpath": "/etc"})),
    Hostile("tar: a long name of 8 GB", _long_name_bomb),
    Hostile("tar: the same name twice", lambda: make_tar([("a", b"x", {}), ("a", b"y", {})])),
    Hostile("tar: names that differ in capitals", lambda: make_tar([("a", b"x", {}), ("A", b"y", {})])),
    Hostile("tar: a size that is negative", lambda: _patched(_GOOD_TAR, 124, b"\xff" * 12)),
    Hostile("tar: a size of 2^90", lambda: _patched(_GOOD_TAR, 124, b"\x80" + b"\x04" + b"\0" * 10)),
    Hostile("tar: cut within an entry", lambda: _GOOD_TAR[:800], _SHORT),
    Hostile("tar: cut between two entries", lambda: _GOOD_TAR[:1536], _SHORT),
    Hostile("tar: something after its end", lambda: _GOOD_TAR + b"tail" * 200),
    Hostile("tar: a damaged second header", lambda: _GOOD_TAR[:1536] + b"#" * 512 + _GOOD_TAR[2048:]),
    Hostile("tar.gz: cut", lambda: gzip.compress(_GOOD_TAR, mtime=0)[:-30], (TruncatedError, ArchiveRejectedError)),
    Hostile("tar.gz: one bit turned", lambda: _turned(gzip.compress(_GOOD_TAR, mtime=0))),
    Hostile("gz: garbage after its end", lambda: gzip.compress(b"x", mtime=0) + b"garbage"),
    Hostile("no archive: a program", lambda: b"\x7fELF" + b"\0" * 600, _KIND),
    Hostile("no archive: RAR", lambda: b"Rar!\x1a\x07\x01\x00" + b"\0" * 600, _KIND),
    Hostile("no archive: nothing", lambda: b"", _KIND),
]  # fmt: skip


def _turned(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


HOSTILE = [*_ZIP_NAMES, *_ZIP_KINDS, *_ZIP_LIES, *_BOMBS, *_TARS]
