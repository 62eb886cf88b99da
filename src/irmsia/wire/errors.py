"""ONE table: what each error leaf is on every door. A test proves that no leaf is missing.

gRPC statuses are names of google.rpc.Code. HTTP as contract section 4. ``exit`` is that of a command which this error
ends; an input that failed among others makes a command end with 1 whatever its code.
"""

from __future__ import annotations

from dataclasses import dataclass

from irmsia import errors
from irmsia.errors import IrmsiaError


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """gRPC status name, HTTP status, exit code of one leaf."""

    grpc: str
    http: int
    exit: int


TABLE: dict[type[IrmsiaError], ErrorRow] = {
    errors.NotFoundError: ErrorRow("NOT_FOUND", 404, 1),
    errors.NotReadableError: ErrorRow("FAILED_PRECONDITION", 422, 1),
    errors.NotAnImageError: ErrorRow("INVALID_ARGUMENT", 415, 1),
    errors.NoPixelDataError: ErrorRow("INVALID_ARGUMENT", 422, 1),
    errors.TruncatedError: ErrorRow("INVALID_ARGUMENT", 422, 1),
    errors.InconsistentHeaderError: ErrorRow("INVALID_ARGUMENT", 422, 1),
    errors.UnsupportedError: ErrorRow("INVALID_ARGUMENT", 415, 1),
    errors.DecodeFailedError: ErrorRow("INVALID_ARGUMENT", 422, 1),
    errors.LimitExceededError: ErrorRow("RESOURCE_EXHAUSTED", 413, 1),
    errors.QuarantinedError: ErrorRow("FAILED_PRECONDITION", 422, 1),
    errors.ArchiveRejectedError: ErrorRow("INVALID_ARGUMENT", 422, 1),
    errors.ChecksumMismatchError: ErrorRow("DATA_LOSS", 422, 1),
    errors.InvalidRequestError: ErrorRow("INVALID_ARGUMENT", 400, 2),
    errors.ModelNotFoundError: ErrorRow("NOT_FOUND", 404, 2),
    errors.DatasetNotFoundError: ErrorRow("NOT_FOUND", 404, 2),
    errors.AddressRefusedError: ErrorRow("INVALID_ARGUMENT", 400, 2),
    errors.NotConfiguredError: ErrorRow("FAILED_PRECONDITION", 503, 2),
    errors.LeakingSplitError: ErrorRow("FAILED_PRECONDITION", 422, 1),
    errors.UploadExpiredError: ErrorRow("NOT_FOUND", 410, 3),
    errors.BundleRejectedError: ErrorRow("FAILED_PRECONDITION", 422, 1),
    errors.TimedOutError: ErrorRow("DEADLINE_EXCEEDED", 504, 3),
    # ABORTED, not UNAVAILABLE: clients repeat the latter by themselves, and this input may have killed its worker.
    errors.WorkerDiedError: ErrorRow("ABORTED", 503, 3),
    errors.OverloadedError: ErrorRow("RESOURCE_EXHAUSTED", 429, 3),
    errors.CancelledError: ErrorRow("CANCELLED", 503, 130),
    errors.UnavailableError: ErrorRow("UNAVAILABLE", 503, 3),
    errors.SourceFailedError: ErrorRow("UNAVAILABLE", 503, 3),
    errors.AddressInUseError: ErrorRow("UNAVAILABLE", 503, 3),
    errors.UnsafeSettingsError: ErrorRow("FAILED_PRECONDITION", 503, 78),
    errors.StorageFullError: ErrorRow("RESOURCE_EXHAUSTED", 507, 3),
    errors.InternalError: ErrorRow("INTERNAL", 500, 3),
}


def row_of(error: IrmsiaError | type[IrmsiaError]) -> ErrorRow:
    """The row of an error or its class; one that is no leaf of the table counts as INTERNAL."""
    cls = error if isinstance(error, type) else type(error)
    for base in cls.__mro__:
        if base in TABLE:
            return TABLE[base]
    return TABLE[errors.InternalError]


def exit_code(error: IrmsiaError) -> int:
    """What a command that this error ends gives back to the shell."""
    return row_of(error).exit


def http_status(error: IrmsiaError) -> int:
    """Status of the RFC 9457 problem."""
    return row_of(error).http
