"""A stand-in of S3, path style, unsigned: ListObjectsV2, HEAD and GET of objects with ranges."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.collect.fakes.contents import Series
from tests.collect.fakes.faults import Faulty

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_MODIFIED = 1_700_000_000


def objects_of(series: Iterable[Series]) -> dict[str, dict[str, bytes]]:
    """Bucket -> key -> bytes, as IDC lays its series out."""
    buckets: dict[str, dict[str, bytes]] = {"idc-open-data": {}, "idc-open-data-two": {}, "idc-open-data-cr": {}}
    for one in series:
        if one.bucket is not None:
            keys = {f"{one.uuid}/{instance.uuid}.dcm": instance.data for instance in one.instances}
            buckets[one.bucket].update(keys)
    return buckets


@dataclass
class ObjectStore:
    """The buckets and how they are listed.

    Attributes:
        buckets: bucket -> key -> bytes.
        page: keys of one listing at most.
        etags: of keys whose ETag is not the MD5 of their bytes (an upload in parts).
        honours_if_range: whether a changed ETag in If-Range brings the whole object; S3's own pages name no If-Range.
    """

    buckets: Mapping[str, Mapping[str, bytes]]
    page: int = 1000
    etags: dict[str, str] = field(default_factory=dict)
    honours_if_range: bool = True

    def app(self) -> Faulty:
        """The server."""
        routes = [
            Route("/{bucket}", self._list, methods=["GET"]),
            Route("/{bucket}/", self._list, methods=["GET"]),
            Route("/{bucket}/{key:path}", self._object, methods=["GET", "HEAD"]),
        ]
        return Faulty(Starlette(routes=routes))

    def etag(self, key: str, data: bytes) -> str:
        """Quoted."""
        return self.etags.get(key) or f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'

    async def _list(self, request: Request) -> Response:
        bucket = request.path_params["bucket"]
        if bucket not in self.buckets:
            return _error(404, "NoSuchBucket", "The specified bucket does not exist")
        asked = request.query_params
        if asked.get("list-type") != "2":
            return _error(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = (
            _from_token(asked["continuation-token"]) if "continuation-token" in asked else asked.get("start-after", "")
        )
        keys = sorted(key for key in self.buckets[bucket] if key.startswith(prefix) and key > after)
        most = min(int(asked.get("max-keys", "1000")), self.page)
        return _xml(self._listing(bucket, keys, most, prefix, delimiter))

    def _listing(self, bucket: str, keys: list[str], most: int, prefix: str, delimiter: str) -> str:
        shown, folders, last = [], [], ""
        for key in keys:
            if len(shown) + len(folders) == most:
                break
            rest = key[len(prefix) :]
            folder = prefix + rest[: rest.index(delimiter) + 1] if delimiter and delimiter in rest else None
            if folder is None:
                shown.append(key)
            elif folder not in folders:
                folders.append(folder)
            last = key
        cut = bool(keys) and last != keys[-1]
        parts = [
            f"<Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>",
            f"<KeyCount>{len(shown) + len(folders)}</KeyCount><MaxKeys>{most}</MaxKeys>",
            f"<IsTruncated>{'true' if cut else 'false'}</IsTruncated>",
        ]
        if delimiter:
            parts.append(f"<Delimiter>{escape(delimiter)}</Delimiter>")
        if cut:
            parts.append(f"<NextContinuationToken>{_to_token(last)}</NextContinuationToken>")
        parts += [self._entry(key, self.buckets[bucket][key]) for key in shown]
        parts += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        return f'<ListBucketResult xmlns="{_NAMESPACE}">{"".join(parts)}</ListBucketResult>'

    def _entry(self, key: str, data: bytes) -> str:
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
            f"<ETag>{escape(self.etag(key, data), {chr(34): '&quot;'})}</ETag><Size>{len(data)}</Size>"
            "<StorageClass>INTELLIGENT_TIERING</StorageClass></Contents>"
        )

    async def _object(self, request: Request) -> Response:
        bucket, key = request.path_params["bucket"], request.path_params["key"]
        if bucket not in self.buckets:
            return _error(404, "NoSuchBucket", "The specified bucket does not exist")
        data = self.buckets[bucket].get(key)
        if data is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.", key)
        etag = self.etag(key, data)
        if request.headers.get("if-match", etag) not in (etag, "*"):
            return _error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        headers = {
            "etag": etag,
            "last-modified": email.utils.formatdate(_MODIFIED, usegmt=True),
            "accept-ranges": "bytes",
            "content-type": "application/dicom",
            "x-amz-server-side-encryption": "AES256",
        }
        wanted = request.headers.get("range")
        if self.honours_if_range and request.headers.get("if-range", etag) != etag:
            wanted = None
        if wanted is None:
            return Response(data, 200, headers)
        span = _range_of(wanted, len(data))
        if span is None:
            return _error(416, "InvalidRange", "The requested range is not satisfiable")
        start, end = span
        headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return Response(data[start:end], 206, headers)


def _range_of(wanted: str, size: int) -> tuple[int, int] | None:
    """``bytes=a-b`` -> [a, b + 1); null where it cannot be served (RFC 9110 section 14)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    start, end = int(first), min(int(last) + 1 if last else size, size)
    return (start, end) if start < size and start < end else None


def _xml(text: str, status: int = 200) -> Response:
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Response(content, status, {"x-amz-request-id": "0"}, media_type="application/xml")


def _error(status: int, code: str, message: str, key: str | None = None) -> Response:
    named = "" if key is None else f"<Key>{escape(key)}</Key>"
    return _xml(
        f"<Error><Code>{code}</Code><Message>{message}</Message>{named}<RequestId>0</RequestId></Error>", status
    )


def _to_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _from_token(token: str) -> str:
    return base64.urlsafe_b64decode(token).decode()
