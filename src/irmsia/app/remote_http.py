"""The HTTP door of a server, asked by the standard library: the core needs no HTTP client."""

from __future__ import annotations

import http
import http.client
import json
import secrets
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from irmsia.errors import (
    InternalError,
    InvalidRequestError,
    IrmsiaError,
    NotFoundError,
    NotReadableError,
    OverloadedError,
    TimedOutError,
    UnavailableError,
    from_code,
)
from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.wire.json import diagnosis_from_json

DIAGNOSE = "/api/v1/dicom/diagnose"
_DEFAULT_SECONDS = 60.0
_RETRY_SECONDS = 1.0


def ask_over_http(host: str, port: int, request: DiagnoseRequest, *, tls: ssl.SSLContext | None = None) -> Diagnosis:
    """The answer to one image by ``POST /api/v1/dicom/diagnose``, with its form fields.

    The file's name stays here. ``tls``: by HTTPS, with these certificates.

    Raises:
        NotFoundError, NotReadableError: the path gives no bytes.
        IrmsiaError: the problem that came back as its own leaf.
        UnavailableError: no HTTP server answers there.
        TimedOutError: no answer in time.
        InternalError: what came back is no answer of this platform.
    """
    left = _DEFAULT_SECONDS if request.deadline is None else max(0.001, request.deadline - time.monotonic())
    content_type, body = make_form(_fields(request), _content(request.source))
    connection = _connection(host, port, left, tls)
    try:
        connection.request("POST", DIAGNOSE, body, {"Content-Type": content_type, "Accept": "application/json"})
        reply = connection.getresponse()
        return _answer(reply.status, reply.getheader("Retry-After"), reply.read())
    except TimeoutError:
        raise TimedOutError("no answer within the time allowed") from None
    except (OSError, http.client.HTTPException):  # their texts hold addresses
        raise UnavailableError(f"no HTTP server answers at port {port}") from None
    finally:
        connection.close()


def _connection(host: str, port: int, timeout: float, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout)
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)


def make_form(fields: Iterable[tuple[str, str]], content: bytes) -> tuple[str, bytes]:
    """Content type and body of a multipart form (RFC 7578): ``fields``, then ``content`` as ``file``."""
    boundary = secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", b"".join(
        (head.encode(), content, f"\r\n--{boundary}--\r\n".encode())
    )


def _content(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except FileNotFoundError:
        raise NotFoundError("there is no such file") from None
    except OSError as error:
        raise NotReadableError(f"the file cannot be read: {error.strerror}") from None


def _fields(request: DiagnoseRequest) -> list[tuple[str, str]]:
    flags = {"heatmap": request.heatmap, "segmentation": request.segmentation, "all_findings": request.all_findings}
    asked = [(name, "true") for name, value in flags.items() if value]
    if request.heatmap or request.overlay:  # a map comes with its overlay unless told
        asked.append(("overlay", "true" if request.overlay else "false"))
    named = {"term": request.term, "model": request.model}
    return asked + [(name, value) for name, value in named.items() if value is not None]


def _answer(status: int, retry_after: str | None, body: bytes) -> Diagnosis:
    try:
        data = json.loads(body)
    except ValueError:
        raise InternalError(f"the HTTP door answered {status} without JSON") from None
    if status == http.HTTPStatus.OK:
        return _diagnosis(data)
    raise _problem(status, retry_after, data)


def _diagnosis(data: Any) -> Diagnosis:
    try:
        return diagnosis_from_json(data)
    except InvalidRequestError:  # of the door, not of who asked
        raise InternalError("the HTTP door's answer cannot be read") from None


def _problem(status: int, retry_after: str | None, data: Any) -> IrmsiaError:
    """The leaf that an RFC 9457 problem names."""
    if not isinstance(data, dict) or not isinstance(data.get("code"), str):
        return InternalError(f"the HTTP door answered {status} without a code")
    error = from_code(data["code"], str(data.get("detail") or data.get("title") or ""))
    if isinstance(error, OverloadedError):
        waits = retry_after is not None and retry_after.isdecimal()
        return OverloadedError(error.message, float(retry_after or 0) if waits else _RETRY_SECONDS)
    return error
