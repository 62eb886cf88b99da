"""What the client says and hears, without a socket: requests from arguments, answers and typed errors from replies.

The blocking client uses it; an asynchronous face can be made of the same functions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import (
    CancelledError,
    InternalError,
    InvalidRequestError,
    IrmsiaError,
    LimitExceededError,
    NotFoundError,
    NotReadableError,
    OverloadedError,
    TimedOutError,
    UnavailableError,
)
from irmsia.wire import MAX_UNARY_BYTES, Diagnosis, Problem
from irmsia.wire.proto import diagnosis_from_message
from irmsia.wire.status import DETAILS_KEY, answer_of, error_of, status_from_bytes

_ABOUT_THE_SERVER = (OverloadedError, CancelledError, UnavailableError)
"""Errors that say nothing of the image: always raised, never an answer."""


_CONTENT_TAG = bytes([pb.DiagnoseDicomRequest.CONTENT_FIELD_NUMBER << 3 | 2])
"""Field number and wire type (2 = a length, then so many bytes) of the image."""


@dataclass(frozen=True, slots=True)
class DiagnoseOptions:
    """What to ask for besides the answer; fields as in ``DiagnoseDicomRequest``."""

    heatmap: bool = False
    overlay: bool = False
    term: str | None = None
    segmentation: bool = False
    model: str | None = None
    all_findings: bool = False


def check_target(target: str) -> str:
    """``HOST:PORT`` as it is.

    Raises:
        InvalidRequestError: it is none.
    """
    host, separator, port = target.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    named = bool(bare) and not set(bare) & set("/@ \t\r\n[]") and (bare is not host or ":" not in host)
    if not separator or not named or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidRequestError("a server is named HOST:PORT")
    return target


def read_source(source: bytes | str | Path) -> bytes:
    """The bytes to send, at most 64 MiB of them.

    Raises:
        NotFoundError, NotReadableError: the path gives none.
        LimitExceededError: too many for one message.
    """
    data = source if isinstance(source, bytes) else _read_path(Path(source))
    if len(data) > MAX_UNARY_BYTES:
        raise LimitExceededError(f"an image in one message has at most {MAX_UNARY_BYTES} bytes")
    return data


def _read_path(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise NotReadableError("not a regular file")
        with path.open("rb") as file:
            return file.read(MAX_UNARY_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError("there is no such file") from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not a file name"
        raise NotReadableError(f"the file cannot be read: {reason}") from None


def make_request(content: bytes, options: DiagnoseOptions) -> bytes:
    """A serialised ``DiagnoseDicomRequest``.

    The file's name stays here: it may name a patient, and the answer gets it back on this side. The image is put before
    the serialised options by hand, as field 1: protobuf's own encoder copies large bytes again and again while its
    buffer grows, which costs 0.8 s for 64 MiB.

    Raises:
        InvalidRequestError: a term or a model whose name is no Unicode text.
    """
    return b"".join((_CONTENT_TAG, _varint(len(content)), content, _options_alone(options).SerializeToString()))


def _options_alone(options: DiagnoseOptions) -> pb.DiagnoseDicomRequest:
    try:
        return pb.DiagnoseDicomRequest(
            heatmap=options.heatmap,
            overlay=options.overlay,
            term=options.term,
            segmentation=options.segmentation,
            model=options.model,
            all_findings=options.all_findings,
        )
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
    """The typed error in a failed call (a ``grpc.RpcError`` that is a ``grpc.Call``) and what is known of its image."""
    status = next(
        (status_from_bytes(value) for key, value in failure.trailing_metadata() or () if key == DETAILS_KEY), None
    )
    error = error_of(status) if status is not None else None
    if status is None or error is None:
        return _untyped(failure.code(), target), None
    return error, answer_of(status)


def _untyped(code: grpc.StatusCode, target: str) -> IrmsiaError:
    """What gRPC itself says: nobody there, too late, too large; its texts hold addresses and stay out."""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(f"no server answers at {target}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOutError("no answer within the time allowed")
        case grpc.StatusCode.CANCELLED:  # by the server: it stopped before it took the call
            return UnavailableError(f"the server at {target} dropped the request")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:  # our own overload carries its code, so this is the size of a message
            return LimitExceededError("the message is larger than the server or this client takes")
        case grpc.StatusCode.UNIMPLEMENTED:
            return UnavailableError(f"what answers at {target} is no IRMSIA server of this version")
        case _:
            return InternalError(f"the call failed with {code.name}")
