"""One file from its address into its part: resumed where that is safe, begun anew where it is not, proved at the end.

Range requests: RFC 9110 sections 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range). ``x-goog-hash``: Google Cloud
Storage.
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

from irmsia.datasets.collect.archive_names import ArchiveLimits
from irmsia.datasets.collect.extract import count_files
from irmsia.datasets.collect.inflating import GZIP, inflated
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
    TruncatedError,
)
from irmsia.settings.tree import CollectSettings

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
        most = web.settings.file_bytes
        self._limit = most if wanted.at_most is None else min(most, wanted.at_most)
        self._given: Checksum | None = None
        self._inflates = False

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
        known = self._part.origin.validator is not None or self._wanted.checksum is not None
        return self._wanted.resumable and known and not self._inflates

    def _total(self) -> int | None:
        return self._wanted.bytes if self._wanted.bytes is not None else self._part.origin.total

    def _begin(self, answer: Answer) -> None:
        """Look at the head of an answer; afterwards the part stands where the body begins."""
        part = self._part
        origin = _origin(answer, self._wanted, part.origin.address)
        if answer.status == 416:
            raise RequestFailed(SourceFailedError("the source has fewer bytes than it said"), afresh=True)
        if answer.status == 206:
            self._check_range(answer, origin)
        elif part.size:  # it does not take Range, or the file has changed
            part.reset()
        part.begin(origin)
        self._inflates |= _is_packed_for_the_way(answer, self._wanted)
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
        if not _is_packed_for_the_way(answer, self._wanted):
            return chunks
        if encoding != "gzip":
            raise RequestFailed(SourceFailedError("the source compresses the file though that was not asked for"))
        return _unpacked(chunks)

    def _take(self, chunk: bytes) -> None:
        self._web.hosts.check()
        part, most = self._part, self._total()
        if not part.size:
            self._refuse_page(chunk)
        if most is not None and part.size + len(chunk) > most:
            raise RequestFailed(SourceFailedError("the source sends more bytes than it announced"), afresh=True)
        if part.size + len(chunk) > self._limit:
            part.reset()
            raise RequestFailed(LimitExceededError(f"a file larger than {self._limit} bytes"), again=False)
        part.write(chunk)

    def _refuse_page(self, head: bytes) -> None:
        if not self._wanted.html and _suffix(self._wanted.path) not in _PAGES and _HTML.match(head):
            raise RequestFailed(SourceFailedError("the source sends a web page instead of the file"), afresh=True)

    def _check(self) -> Checksum | None:
        """Prove the whole part."""
        part, wanted = self._part, self._wanted
        self._refuse_page(part.head(_HEAD))
        if part.size == 0 and wanted.bytes != 0 and wanted.checksum is None:
            raise RequestFailed(SourceFailedError("the source sends an empty file"), afresh=True)
        if wanted.bytes is not None and part.size != wanted.bytes:
            raise RequestFailed(
                ChecksumMismatchError("the file has another size than its source announced"), afresh=True
            )
        checksum = wanted.checksum or self._given
        if checksum is not None and part.hex(checksum.algorithm) != checksum.hex:
            raise RequestFailed(ChecksumMismatchError("the file is not the one its source announced"), afresh=True)
        try:
            verify(wanted, part, self._web.settings)
        except IrmsiaError as error:
            raise RequestFailed(error, afresh=True) from None
        return checksum


def verify(wanted: Wanted, part: Part, settings: CollectSettings) -> None:
    """What a source asks of a whole file besides its digest: the number of its members, a check of its own.

    Raises:
        IrmsiaError: it does not hold.
    """
    if wanted.members is not None:
        found = count_files(part.place, ArchiveLimits.of(settings))
        if found != wanted.members:
            raise TruncatedError(f"the archive holds {found} files; its source announced {wanted.members}")
    if wanted.verify is not None:
        wanted.verify(part.place)


def address_digest(wanted: Wanted) -> str:
    """What two requests for one file have in common; tells nothing of the address."""
    place = wanted.url if wanted.local is None else str(wanted.local)
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()


def copy_local(wanted: Wanted, part: Part, settings: CollectSettings, check: Callable[[], None]) -> Checksum | None:
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
    verify(wanted, part, settings)
    return checksum


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _origin(answer: Answer, wanted: Wanted, address: str) -> Origin:
    etag = answer.headers.get("etag")
    if _is_packed_for_the_way(answer, wanted):  # what the server says is of the packed bytes
        return Origin(address)
    strong = etag if etag is not None and re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag) else None
    modified = answer.headers.get("last-modified", "")
    dated = modified if re.fullmatch(r"[A-Za-z0-9:, +-]{20,40}", modified) else None
    return Origin(address, strong, dated, _announced(answer))


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


def _is_packed_for_the_way(answer: Answer, wanted: Wanted) -> bool:
    """Whether the body is not the file itself. Of ``x.nii.gz`` many servers say gzip and send just the file."""
    gzip = answer.headers.get("content-encoding", "").strip().lower() == "gzip"
    return _is_encoded(answer) and not (gzip and _suffix(wanted.path) in _GZIPPED)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _paced(chunks: Iterator[bytes], pace: Pace) -> Iterator[bytes]:
    for chunk in chunks:
        pace.check(len(chunk))
        yield chunk


def _unpacked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A body that was gzipped for the way."""
    try:
        yield from inflated(chunks, GZIP)
    except EOFError:
        raise RequestFailed(SourceFailedError("the source cut the connection"), afresh=True) from None
    except zlib.error:
        raise RequestFailed(SourceFailedError("the source says gzip, but it is not"), afresh=True) from None
