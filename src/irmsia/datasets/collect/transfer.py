"""One file from its address into its part: resumed where that is safe, begun anew where it is not, never trusted unproved.

Range requests: RFC 9110 sections 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range). ``x-goog-hash``: Google Cloud Storage.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from irmsia.datasets.collect.part import Origin, Part
from irmsia.datasets.collect.protocol import Checksum, Wanted
from irmsia.datasets.collect.retry import Pace, RequestFailed
from irmsia.datasets.collect.web import Answer, Web
from irmsia.errors import (
    ChecksumMismatchError,
    IrmsiaError,
    LimitExceededError,
    SourceFailedError,
    StorageFullError,
)

_ACCEPTED = frozenset({200, 206, 416})
_PROGRESS = 64 * 1024
"""Bytes that must have come for a failure not to count."""
_HEAD = 512
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_PAGES = frozenset({".html", ".htm", ".xhtml"})
_GZIPPED = frozenset({".gz", ".tgz"})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Transfer:
    """Gets one file. Made for one thread.

    Args:
        web: asks.
        wanted: the file.
        part: where it grows; of `address_digest` of ``wanted``.
        on_retry: called with the error before it is tried again.
    """

    def __init__(self, web: Web, wanted: Wanted, part: Part, on_retry: Callable[[IrmsiaError], None]) -> None:
        self._web = web
        self._wanted = wanted
        self._part = part
        self._on_retry = on_retry
        self._limit = web.settings.file_bytes
        self._given: Checksum | None = None

    def run(self) -> Checksum | None:
        """Get the file whole, check its size and digest; the checksum of the source that it was proved by.

        Raises:
            IrmsiaError: why there is none; the part then holds what can be gone on with, or is empty.
            OSError: what the file system says.
        """
        tries = self._web.tries()
        while True:
            before = self._part.size
            try:
                self._attempt()
                return self._check()
            except RequestFailed as failure:
                self._web.hosts.check()
                if failure.afresh or not self._may_resume():
                    self._part.reset()
                elif self._part.size - before >= _PROGRESS:
                    tries.progressed()
                pause_s = tries.pause_after(failure)
                self._on_retry(failure.error)
                self._web.hosts.pause(pause_s)

    def _attempt(self) -> None:
        """One request; returns when the file is whole as far as its length tells."""
        part, wanted = self._part, self._wanted
        if part.size and part.size == self._total():
            return
        if part.size and not self._may_resume():
            part.reset()
        own = self._range() if part.size else {}
        with self._web.open(wanted.url, headers=wanted.headers, own=own, accept=_ACCEPTED) as answer:
            self._begin(answer)
            for chunk in self._decoded(answer):
                self._take(chunk)
            total = self._total()
            if total is not None and part.size < total:
                raise RequestFailed(SourceFailedError("the source cut the connection"))

    def _range(self) -> dict[str, str]:
        validator = self._part.origin.validator
        return {"range": f"bytes={self._part.size}-", **({"if-range": validator} if validator else {})}

    def _may_resume(self) -> bool:
        """Whether bytes got now will fit those got before: the server says so, or the digest at the end does."""
        return self._wanted.resumable and (self._part.origin.validator is not None or self._wanted.checksum is not None)

    def _total(self) -> int | None:
        return self._wanted.bytes if self._wanted.bytes is not None else self._part.origin.total

    def _begin(self, answer: Answer) -> None:
        """Look at the head of an answer; afterwards the part stands where the body begins."""
        part = self._part
        origin = _origin(answer, part.origin.address)
        if answer.status == 416:
            raise RequestFailed(SourceFailedError("the source has fewer bytes than it said"), afresh=True)
        if answer.status == 206:
            self._check_range(answer, origin)
        elif part.size:  # it does not take Range, or the file has changed
            part.reset()
        part.begin(origin)
        self._given = _given_checksum(answer) or self._given
        total = origin.total
        if total is None:
            return
        if total > self._limit:
            raise RequestFailed(LimitExceededError(f"a file larger than {self._limit} bytes"), again=False)
        if self._wanted.bytes is not None and total != self._wanted.bytes and not _is_encoded(answer):
            raise RequestFailed(
                ChecksumMismatchError("the file has another size than its source announced"), afresh=True
            )
        if total - part.size > shutil.disk_usage(part.place.parent).free:
            raise RequestFailed(StorageFullError("the disk has no room for the file"), again=False)

    def _check_range(self, answer: Answer, origin: Origin) -> None:
        before, found = self._part.origin, _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or not self._part.size or int(found[1]) != self._part.size or int(found[2]) < int(found[1]):
            raise RequestFailed(SourceFailedError("the source sent another range than was asked for"), afresh=True)
        changed = before.etag is not None and origin.etag is not None and before.etag != origin.etag
        resized = before.total is not None and origin.total is not None and before.total != origin.total
        if changed or resized:
            raise RequestFailed(SourceFailedError("the file changed at its source meanwhile"), afresh=True)
        if _is_encoded(answer):
            raise RequestFailed(SourceFailedError("the source compresses a range of the file"), afresh=True)

    def _decoded(self, answer: Answer) -> Iterator[bytes]:
        """The file's own bytes: those on the wire, unless the server compressed them for the way."""
        encoding = answer.headers.get("content-encoding", "").strip().lower()
        pace = Pace(self._web.settings.stall_seconds)
        chunks = _paced(answer.chunks(), pace)
        if encoding in ("", "identity") or (encoding == "gzip" and _suffix(self._wanted.path) in _GZIPPED):
            return chunks
        if encoding != "gzip":
            raise RequestFailed(SourceFailedError("the source compresses the file though that was not asked for"))
        return _inflated(chunks)

    def _take(self, chunk: bytes) -> None:
        self._web.hosts.check()
        part, most = self._part, self._total()
        if not part.size and not self._wanted.html and _HTML.match(chunk) and _suffix(self._wanted.path) not in _PAGES:
            raise RequestFailed(SourceFailedError("the source sends a web page instead of the file"), afresh=True)
        if most is not None and part.size + len(chunk) > most:
            raise RequestFailed(SourceFailedError("the source sends more bytes than it announced"), afresh=True)
        if part.size + len(chunk) > self._limit:
            part.reset()
            raise RequestFailed(LimitExceededError(f"a file larger than {self._limit} bytes"), again=False)
        part.write(chunk)

    def _check(self) -> Checksum | None:
        """Prove the whole part."""
        part, wanted = self._part, self._wanted
        if part.size == 0 and wanted.bytes != 0 and wanted.checksum is None:
            raise RequestFailed(SourceFailedError("the source sends an empty file"), afresh=True)
        if wanted.bytes is not None and part.size != wanted.bytes:
            raise RequestFailed(
                ChecksumMismatchError("the file has another size than its source announced"), afresh=True
            )
        checksum = wanted.checksum or self._given
        if checksum is not None and part.hex(checksum.algorithm) != checksum.hex:
            raise RequestFailed(ChecksumMismatchError("the file is not the one its source announced"), afresh=True)
        if wanted.verify is not None:
            part.sync()
            try:
                wanted.verify(part.place)
            except IrmsiaError as error:
                raise RequestFailed(error, afresh=True) from None
        return checksum


def address_digest(wanted: Wanted) -> str:
    """What two requests for one file have in common; tells nothing of the address."""
    place = wanted.url if wanted.local is None else str(wanted.local)
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()


def copy_local(wanted: Wanted, part: Part, check: Callable[[], None]) -> Checksum | None:
    """A file of this machine into its part; the checksum it was proved by.

    Raises:
        ChecksumMismatchError: it is not the one that was wanted, or changed meanwhile.
        OSError: it cannot be read or written.
    """
    assert wanted.local is not None
    with wanted.local.open("rb") as file:
        part.reset()
        while piece := file.read(1 << 20):
            check()
            part.write(piece)
    if wanted.bytes is not None and part.size != wanted.bytes:
        raise ChecksumMismatchError("the file changed while it was copied")
    checksum = wanted.checksum
    if checksum is not None and part.hex(checksum.algorithm) != checksum.hex:
        raise ChecksumMismatchError("the file is not the one that was announced")
    if wanted.verify is not None:
        part.sync()
        wanted.verify(part.place)
    return checksum


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _origin(answer: Answer, address: str) -> Origin:
    etag = answer.headers.get("etag")
    strong = etag if etag is not None and re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag) else None
    modified = answer.headers.get("last-modified", "")
    dated = modified if re.fullmatch(r"[A-Za-z0-9:, +-]{20,40}", modified) else None
    return Origin(address, strong, dated, None if _is_encoded(answer) else _announced(answer))


def _announced(answer: Answer) -> int | None:
    """Bytes of the whole file, as the answer says."""
    if answer.status == 206:
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        return int(found[3]) if found and found[3] != "*" else None
    length = answer.headers.get("content-length", "")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def _given_checksum(answer: Answer) -> Checksum | None:
    """An MD5 that a storage server tells of the whole file."""
    for item in answer.headers.get("x-goog-hash", "").split(","):
        name, _, value = item.strip().partition("=")
        if name == "md5":
            try:
                return Checksum("md5", base64.b64decode(value, validate=True).hex())
            except (binascii.Error, ValueError, IrmsiaError):
                return None
    return None


def _is_encoded(answer: Answer) -> bool:
    return answer.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _paced(chunks: Iterator[bytes], pace: Pace) -> Iterator[bytes]:
    for chunk in chunks:
        pace.check(len(chunk))
        yield chunk


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack a body that was gzipped for the way, in pieces of bounded size."""
    inflate = zlib.decompressobj(31)
    try:
        for chunk in chunks:
            rest = chunk
            while rest and not inflate.eof:
                yield inflate.decompress(rest, 1 << 20)
                rest = inflate.unconsumed_tail
            if inflate.eof and (rest or inflate.unused_data):
                raise RequestFailed(SourceFailedError("the source sends bytes after the end of the file"), afresh=True)
        if not inflate.eof:
            raise RequestFailed(SourceFailedError("the source cut the connection"), afresh=True)
    except zlib.error:
        raise RequestFailed(SourceFailedError("the source says gzip, but it is not"), afresh=True) from None
