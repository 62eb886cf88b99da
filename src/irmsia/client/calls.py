"""What the client says and hears, without a socket: requests from arguments, answers and typed errors from replies.

Both faces of the client stand on these functions.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict, TypeVar

import grpc

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import (
    CancelledError,
    InternalError,
    InvalidRequestError,
    IrmsiaError,
    LimitExceededError,
    OverloadedError,
    TimedOutError,
    UnavailableError,
)
from irmsia.wire import Diagnosis, Problem
from irmsia.wire.proto import diagnosis_from_message
from irmsia.wire.status import DETAILS_KEY, answer_of, error_of, status_from_bytes

M = TypeVar("M", pb.DiagnoseDicomRequest, pb.DiagnoseOptions)

_ABOUT_THE_SERVER = (OverloadedError, CancelledError, UnavailableError)
"""Errors that say nothing of the image: always raised, never an answer."""


_TLS_WORDS = re.compile("handshake|certificate|ssl", re.IGNORECASE)

_CONTENT_TAG = bytes([pb.DiagnoseDicomRequest.CONTENT_FIELD_NUMBER << 3 | 2])
"""Field number and wire type (2 = a length, then so many bytes) of the image."""

_CHUNK_TAG = bytes([pb.DiagnoseStreamRequest.CHUNK_FIELD_NUMBER << 3 | 2])
_ITEM_TAG = bytes([pb.DiagnoseBatchStreamRequest.ITEM_FIELD_NUMBER << 3 | 2])
_DATA_TAG = bytes([pb.UploadChunk.DATA_FIELD_NUMBER << 3 | 2])


@dataclass(frozen=True, slots=True)
class DiagnoseOptions:
    """What to ask for besides the answer; fields as in ``DiagnoseDicomRequest``."""

    heatmap: bool = False
    overlay: bool = False
    term: str | None = None
    segmentation: bool = False
    model: str | None = None
    all_findings: bool = False


class Asked(TypedDict, total=False):
    """The same as keyword arguments of a call."""

    heatmap: bool
    overlay: bool
    term: str | None
    segmentation: bool
    model: str | None
    all_findings: bool


def check_target(target: str) -> str:
    """``HOST:PORT`` as it is, or ``unix:`` and the absolute path of a socket.

    Raises:
        InvalidRequestError: it is neither.
    """
    if target.startswith("unix:/"):
        return target
    host, separator, port = target.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    named = bool(bare) and not set(bare) & set("/@ \t\r\n[]") and (bare is not host or ":" not in host)
    if not separator or not named or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidRequestError("a server is named HOST:PORT")
    return target


def make_request(content: bytes, options: DiagnoseOptions) -> bytes:
    """A serialised ``DiagnoseDicomRequest``.

    The file's name stays here: it may name a patient, and the answer gets it back on this side. The image is put before
    the serialised options by hand, as field 1: protobuf's own encoder copies large bytes again and again while its
    buffer grows, which costs 0.8 s for 64 MiB.

    Raises:
        InvalidRequestError: a term or a model whose name is no Unicode text.
    """
    return b"".join((_CONTENT_TAG, _varint(len(content)), content, _options_alone(options).SerializeToString()))


def idempotency_key(digest: bytes, options: DiagnoseOptions) -> str:
    """SHA-256 (hex) of the input's SHA-256 and the options: equal for every try of one question."""
    return hashlib.sha256(digest + _options_alone(options).SerializeToString(deterministic=True)).hexdigest()


def make_open(options: DiagnoseOptions, *, upload_id: str | None, size: int, sha256: str | None) -> bytes:
    """A serialised ``DiagnoseStreamRequest`` that begins an upload, or goes on with ``upload_id``."""
    opened = pb.UploadOpen(upload_id=upload_id, size=size, sha256=sha256, options=_filled(pb.DiagnoseOptions, options))
    request: bytes = pb.DiagnoseStreamRequest(open=opened).SerializeToString()
    return request


def make_chunk(offset: int, data: bytes, *, last: bool) -> bytes:
    """A serialised ``DiagnoseStreamRequest`` with one chunk; put together by hand as in `make_request`."""
    head = pb.UploadChunk(offset=offset, last=last).SerializeToString()
    body = (head, _DATA_TAG, _varint(len(data)))
    size = sum(map(len, body)) + len(data)
    return b"".join((_CHUNK_TAG, _varint(size), *body, data))


def make_item(identity: str, request: bytes) -> bytes:
    """A serialised ``DiagnoseBatchStreamRequest`` around a serialised ``DiagnoseDicomRequest``."""
    head = pb.DiagnoseBatchStreamRequest(id=identity).SerializeToString()
    return b"".join((head, _ITEM_TAG, _varint(len(request)), request))


def _options_alone(options: DiagnoseOptions) -> pb.DiagnoseDicomRequest:
    return _filled(pb.DiagnoseDicomRequest, options)


def _filled(message: type[M], options: DiagnoseOptions) -> M:
    try:
        return message(**asdict(options))
    except UnicodeEncodeError:  # bytes of a command line that are no UTF-8
        raise InvalidRequestError("the name of a term or a model must be Unicode text") from None


def _varint(number: int) -> bytes:
    """Base 128, least group first, high bit = more follow (protobuf encoding)."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def read_answer(message: pb.Diagnosis, name: str | None) -> Diagnosis:
    """The answer in a reply, under the name as given here."""
    return replace(diagnosis_from_message(message), input=name)


def failed_answer(error: IrmsiaError, known: Diagnosis | None, name: str | None) -> Diagnosis:
    """The failure of one image as an answer; an error that is the server's own is raised instead."""
    if isinstance(error, _ABOUT_THE_SERVER):
        raise error
    problem = Problem(error.code, error.message)
    return replace(known or Diagnosis(), input=name, error=problem)


def read_failure(failure: Any, target: str) -> tuple[IrmsiaError, Diagnosis | None]:
    """The typed error in a failed call (a ``grpc.aio.AioRpcError``) and what is known of its image."""
    status = next(
        (status_from_bytes(value) for key, value in failure.trailing_metadata() or () if key == DETAILS_KEY), None
    )
    error = error_of(status) if status is not None else None
    if status is None or error is None:
        if failure.code() is grpc.StatusCode.UNAVAILABLE and _TLS_WORDS.search(failure.details() or ""):
            return UnavailableError(f"no TLS connection to {target}: check the certificates on both sides"), None
        return _untyped(failure.code(), target), None
    return error, answer_of(status)


def _untyped(code: grpc.StatusCode, target: str) -> IrmsiaError:
    """What gRPC itself says: nobody there, too late, too large; its texts hold addresses and stay out."""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(f"no server answers at {target}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOutError("no answer within the time allowed")
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN:  # a server of ours says more: a cut amid a message
            return UnavailableError(f"the connection to {target} broke")
        case grpc.StatusCode.CANCELLED:  # by the server: it stopped before it took the call
            return UnavailableError(f"the server at {target} dropped the request")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:  # our own overload carries its code, so this is the size of a message
            return LimitExceededError("the message is larger than the server or this client takes")
        case grpc.StatusCode.UNIMPLEMENTED:
            return UnavailableError(f"what answers at {target} is no IRMSIA server of this version")
        case _:
            return InternalError(f"the call failed with {code.name}")
