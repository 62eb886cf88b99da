"""An error as google.rpc.Status and back: ErrorInfo with the code, RetryInfo for overload, the failed item's answer."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import IrmsiaError, OverloadedError, from_code
from irmsia.findings.types import Diagnosis
from irmsia.wire.errors import row_of
from irmsia.wire.proto import diagnosis_from_message, diagnosis_to_message

DOMAIN = "irmsia"
DETAILS_KEY = "grpc-status-details-bin"
"""Metadata key under which gRPC carries a serialised google.rpc.Status."""

MAX_ANSWER_BYTES = 4096
"""Trailers may be 8 KiB in all, and base64 adds a third; a larger answer stays behind and the code goes alone."""

MAX_MESSAGE_CHARACTERS = 500


def status_of(error: IrmsiaError, diagnosis: Diagnosis | None = None) -> status_pb2.Status:
    """The status of ``error``; ``diagnosis`` is the failed item's answer with all that is known of it."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.code or "INTERNAL", domain=DOMAIN)]
    if isinstance(error, OverloadedError):
        details.append(_retry_info(error.retry_after_s))
    if diagnosis is not None:
        answer = diagnosis_to_message(diagnosis)
        if answer.ByteSize() <= MAX_ANSWER_BYTES:
            details.append(answer)
    message = error.message[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return status_pb2.Status(
        code=code_pb2.Code.Value(row_of(error).grpc), message=message, details=[_packed(part) for part in details]
    )


def error_of(status: status_pb2.Status) -> IrmsiaError | None:
    """The typed error in ``status``; null when it carries no ErrorInfo of ours."""
    info = error_details_pb2.ErrorInfo()
    if not _unpack(status, info) or info.domain != DOMAIN:
        return None
    error = from_code(info.reason, status.message)
    retry = error_details_pb2.RetryInfo()
    if isinstance(error, OverloadedError) and _unpack(status, retry):
        return OverloadedError(status.message, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    return error


def answer_of(status: status_pb2.Status) -> Diagnosis | None:
    """The failed item's answer in ``status``, if it travelled."""
    message = pb.Diagnosis()
    return diagnosis_from_message(message) if _unpack(status, message) else None


def status_from_bytes(data: bytes) -> status_pb2.Status | None:
    """The status in the trailers' bytes; null when they are none."""
    try:
        return status_pb2.Status.FromString(data)
    except DecodeError:
        return None


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(round(max(seconds, 0.0) * 1e9))
    return info


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _unpack(status: status_pb2.Status, message: Message) -> bool:
    """Fill ``message`` from the first detail of its type."""
    for detail in status.details:
        if detail.Is(message.DESCRIPTOR):
            try:
                return bool(detail.Unpack(message))
            except DecodeError:
                return False
    return False
