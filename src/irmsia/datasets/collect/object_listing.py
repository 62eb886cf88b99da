"""What an S3 bucket holds under a prefix, asked without a signature (Amazon S3 API Reference, ListObjectsV2)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from irmsia.datasets.collect.protocol import Checksum
from irmsia.datasets.collect.web import Web
from irmsia.errors import LimitExceededError, SourceFailedError

_MOST_OBJECTS = 1_000_000
_PAGE_BYTES = 16 * 1024 * 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MD5 = re.compile(r'"?([0-9a-fA-F]{32})"?')


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object.

    Attributes:
        key: its whole key.
        bytes: its size.
        checksum: its MD5 where the ETag is one; null for objects that were uploaded in parts.
    """

    key: str
    bytes: int
    checksum: Checksum | None


def list_objects(web: Web, base: str, bucket: str, prefix: str) -> Iterator[StoredObject]:
    """All objects under ``prefix``, in the order of their keys, page after page.

    Args:
        web: asks.
        base: address of the store; buckets are asked by path.
        bucket: its name.
        prefix: their keys begin so.

    Raises:
        SourceFailedError: the store answers something else, or one key twice.
        LimitExceededError: more than a million objects.
    """
    address, params, last = object_url(base, bucket), {"list-type": "2", "prefix": prefix}, ""
    for _ in range(_MOST_OBJECTS):
        root = _parse(web.ask(address, params=params, limit=_PAGE_BYTES).body)
        for stored in _objects(root, prefix):
            if stored.key <= last:
                raise SourceFailedError("the object store lists its objects without order or end")
            last = stored.key
            yield stored
        token = _text(root, "NextContinuationToken")
        if _text(root, "IsTruncated") != "true":
            return
        if not token or token == params.get("continuation-token"):
            raise SourceFailedError("the object store says that there is more, but not where")
        params["continuation-token"] = token
    raise LimitExceededError(f"the object store lists more than {_MOST_OBJECTS} pages")


def object_url(base: str, bucket: str, key: str = "") -> str:
    """The address of an object, or of its bucket.

    Raises:
        SourceFailedError: no name of a bucket.
    """
    if not _BUCKET.fullmatch(bucket):
        raise SourceFailedError("the catalogue names a bucket that cannot be one")
    return f"{base.rstrip('/')}/{bucket}" + (f"/{quote(key)}" if key else "")


def _parse(body: bytes) -> ElementTree.Element:
    """The answer as XML: UTF-8, and without declarations, so that no entity can grow."""
    try:
        text = body.decode("utf-8")
        root = None if "<!" in text else ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        root = None
    if root is None or _name(root) != "ListBucketResult":
        raise SourceFailedError("the object store's answer is no list of objects")
    return root


def _objects(root: ElementTree.Element, prefix: str) -> Iterator[StoredObject]:
    for entry in root:
        if _name(entry) != "Contents":
            continue
        key, size = _text(entry, "Key"), _text(entry, "Size")
        if not key.startswith(prefix) or not re.fullmatch(r"[0-9]{1,15}", size):
            raise SourceFailedError("the object store lists what was not asked for")
        md5 = _MD5.fullmatch(_text(entry, "ETag"))
        yield StoredObject(key, int(size), Checksum("md5", md5[1]) if md5 else None)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in element if _name(child) == name), "")
