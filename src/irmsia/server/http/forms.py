"""A form as it comes in: files go piece by piece to `Uploads`, fields are few and short, nothing is held twice.

multipart/form-data as RFC 7578; application/x-www-form-urlencoded for forms without a file.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import QueryParams
from starlette.requests import Request

from irmsia.errors import InvalidRequestError, LimitExceededError, UnsupportedError
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.http.receiving import Incoming
from irmsia.server.uploads import Received, Uploads

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
"""It writes a line for each broken form; the answer says it already."""

_PIECE = 256 * 1024
"""Bytes of a file that are kept together: smaller pieces cost more than they bring."""

_NAME_CHARACTERS = 255
_PART_HEADERS = 8
_PART_HEADER_BYTES = 2048
_MULTIPART, _URLENCODED = b"multipart/form-data", b"application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class FormRules:
    """What a form may hold: the name of its file field, how many files, the names of its other fields."""

    fields: frozenset[str]
    file_field: str
    files: int = 1


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file: its name as given, and where it is kept."""

    name: str | None
    received: Received


@dataclass(slots=True)
class Form:
    """What came in. ``files`` are the caller's to remove from `Uploads`."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[FormFile] = field(default_factory=list)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A field that is true or false.

        Raises:
            InvalidRequestError: it is neither.
        """
        value = self.fields.get(name)
        if value is None or value == "":
            return default
        if value.lower() in {"true", "1", "yes", "on"}:
            return True
        if value.lower() in {"false", "0", "no", "off"}:
            return False
        raise InvalidRequestError(f"{name} is true or false")

    def text(self, name: str) -> str | None:
        """A field; null where it is absent or empty."""
        return self.fields.get(name) or None


async def read_form(
    request: Request, rules: FormRules, *, config: HttpServerConfig, uploads: Uploads, incoming: Incoming
) -> Form:
    """Take the whole body in. On an error nothing is kept.

    Raises:
        UnsupportedError: the body is no form.
        InvalidRequestError: it is a broken one, or holds what ``rules`` do not name.
        LimitExceededError: too many bytes, files or headers.
        OverloadedError, StorageFullError: a file cannot be kept now.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    body = _limited(request, config.body_bytes, incoming)
    if kind == _URLENCODED:
        return Form(_only_known(_pairs(await _whole(body, config)), rules))
    if kind != _MULTIPART:
        raise UnsupportedError("the body must be multipart/form-data")
    if not options.get(b"boundary"):
        raise InvalidRequestError("the form names no boundary")
    return await _Reader(rules, config, uploads).read(body, options[b"boundary"])


async def remove_files(form: Form, uploads: Uploads) -> None:
    """Give up every file of the form."""
    for file in form.files:
        await uploads.remove(file.received.upload_id)


async def _limited(request: Request, most: int, incoming: Incoming) -> AsyncIterator[bytes]:
    """The body's pieces, as many as may be."""
    too_many = LimitExceededError(f"a body has at most {most} bytes")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most:
        raise too_many
    async for piece in request.stream():
        incoming.received += len(piece)
        if incoming.received > most:
            raise too_many
        yield piece


async def _whole(body: AsyncIterator[bytes], config: HttpServerConfig) -> bytes:
    """A short body in one piece."""
    data = bytearray()
    async for piece in body:
        data += piece
        if len(data) > _URLENCODED_SHARES * config.field_bytes:
            raise LimitExceededError("a form without a file is short")
    return bytes(data)


_URLENCODED_SHARES = 8
"""A form without a file has at most so many times the bytes of one field."""


def _pairs(data: bytes) -> list[tuple[str, str]]:
    return QueryParams(data.decode("latin-1")).multi_items()


def _only_known(pairs: list[tuple[str, str]], rules: FormRules) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in pairs:
        _require_known(name, rules, fields)
        fields[name] = value
    return fields


def _require_known(name: str, rules: FormRules, fields: dict[str, str]) -> None:
    if name not in rules.fields:
        known = ", ".join(sorted({*rules.fields, rules.file_field}))
        raise InvalidRequestError(f"the form holds a field that is not known here; known are {known}")
    if name in fields:
        raise InvalidRequestError(f"the form holds {name} twice")


@dataclass(slots=True)
class _Part:
    """One part: a field with its ``data``, or a file whose bytes go to ``upload_id``."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    is_file: bool = False
    upload_id: str = ""
    kept: int = 0
    data: bytearray = field(default_factory=bytearray)


class _Reader:
    """The parser calls back while a piece is fed to it; what must wait is noted there and done after each piece."""

    def __init__(self, rules: FormRules, config: HttpServerConfig, uploads: Uploads) -> None:
        self._rules = rules
        self._config = config
        self._uploads = uploads
        self._form = Form()
        self._part = _Part()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._waiting: list[tuple[_Part, bytes, bool]] = []
        self._begun: list[str] = []
        self._ended = False

    async def read(self, body: AsyncIterator[bytes], boundary: bytes) -> Form:
        try:
            parser = self._parser(boundary)
            async for piece in body:
                parser.write(piece)
                await self._keep()
            parser.finalize()
            if not self._ended:
                raise InvalidRequestError("the form ends before its last boundary")
            return self._form
        except BaseException as error:
            for upload_id in self._begun:
                await self._uploads.remove(upload_id)
            if isinstance(error, FormParserError):
                raise InvalidRequestError("the form cannot be read") from None
            raise

    def _parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=_PART_HEADERS,
            max_header_size=_PART_HEADER_BYTES,
        )

    def _on_part_begin(self) -> None:
        self._part = _Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        self._part.headers[bytes(self._header[0]).lower()] = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        part.name = _text(options.get(b"name", b""))
        part.filename = _text(options[b"filename"])[:_NAME_CHARACTERS] if b"filename" in options else None
        part.is_file = part.name == self._rules.file_field
        if part.is_file:
            if len(self._begun) >= self._rules.files:
                raise LimitExceededError(f"the form holds at most {self._rules.files} of {part.name}")
            part.upload_id = self._uploads.open()
            self._begun.append(part.upload_id)
        else:
            _require_known(part.name, self._rules, self._form.fields)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.data += memoryview(data)[start:end]
        if not part.is_file and len(part.data) > self._config.field_bytes:
            raise LimitExceededError(f"a field has at most {self._config.field_bytes} bytes")
        if part.is_file and len(part.data) >= _PIECE:
            self._put_off(part, last=False)

    def _on_part_end(self) -> None:
        if self._part.is_file:
            self._put_off(self._part, last=True)
        else:
            self._form.fields[self._part.name] = _text(bytes(self._part.data))

    def _on_end(self) -> None:
        self._ended = True

    def _put_off(self, part: _Part, *, last: bool) -> None:
        self._waiting.append((part, bytes(part.data), last))
        part.data = bytearray()

    async def _keep(self) -> None:
        for part, data, last in self._waiting:
            if data:
                part.kept = await self._uploads.append(part.upload_id, part.kept, data)
            if last:
                received = await self._uploads.finish(part.upload_id)
                self._form.files.append(FormFile(part.filename, received))
        self._waiting.clear()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
