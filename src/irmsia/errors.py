"""Every error the platform raises on purpose, one tree, no transport knowledge.

    IrmsiaError
    ├── InputError                     the bytes that came in
    │   ├── NotFoundError              NOT_FOUND
    │   ├── NotReadableError           NOT_READABLE
    │   ├── NotAnImageError            NOT_AN_IMAGE
    │   ├── NoPixelDataError           NO_PIXEL_DATA
    │   ├── TruncatedError             TRUNCATED
    │   ├── InconsistentHeaderError    INCONSISTENT_HEADER
    │   ├── UnsupportedError           UNSUPPORTED
    │   ├── DecodeFailedError          DECODE_FAILED
    │   ├── LimitExceededError         LIMIT_EXCEEDED
    │   ├── QuarantinedError           QUARANTINED
    │   ├── ArchiveRejectedError       ARCHIVE_REJECTED
    │   └── ChecksumMismatchError      CHECKSUM_MISMATCH
    ├── RequestError                   what was asked for
    │   ├── InvalidRequestError        INVALID_REQUEST
    │   ├── ModelNotFoundError         MODEL_NOT_FOUND
    │   ├── DatasetNotFoundError       DATASET_NOT_FOUND
    │   ├── UploadExpiredError         UPLOAD_EXPIRED
    │   ├── AddressRefusedError        ADDRESS_REFUSED
    │   ├── NotConfiguredError         NOT_CONFIGURED
    │   └── LeakingSplitError          LEAKING_SPLIT
    ├── BundleRejectedError            BUNDLE_REJECTED
    └── ServiceError                   the platform itself
        ├── TimedOutError              TIMED_OUT
        ├── WorkerDiedError            WORKER_DIED
        ├── OverloadedError            OVERLOADED
        ├── CancelledError             CANCELLED
        ├── UnavailableError           UNAVAILABLE
        ├── SourceFailedError          SOURCE_FAILED
        ├── AddressInUseError          ADDRESS_IN_USE
        ├── UnsafeSettingsError        UNSAFE_SETTINGS
        ├── StorageFullError           STORAGE_FULL
        └── InternalError              INTERNAL

A message never holds a path, patient data, a secret or a stack: the item's ``path`` or ``input`` names the input.
Each door maps every leaf in one table (``irmsia.wire.errors``).
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


class IrmsiaError(Exception):
    """Base of the tree. ``code`` is stable and part of the contract; ``message`` is for people."""

    code: ClassVar[str] = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[type[IrmsiaError], tuple[str]]:
        return type(self), (self.message,)


class InputError(IrmsiaError):
    """The input bytes cannot be answered."""


class NotFoundError(InputError):
    """There is no such file."""

    code = "NOT_FOUND"


class NotReadableError(InputError):
    """The file is there but cannot be read."""

    code = "NOT_READABLE"


class NotAnImageError(InputError):
    """The content is of no format that the platform reads."""

    code = "NOT_AN_IMAGE"


class NoPixelDataError(InputError):
    """A whole DICOM file without pixels: a report, a plan, a presentation state."""

    code = "NO_PIXEL_DATA"


class TruncatedError(InputError):
    """The bytes end before what the header or the stream announces."""

    code = "TRUNCATED"


class InconsistentHeaderError(InputError):
    """Header elements contradict each other or are missing."""

    code = "INCONSISTENT_HEADER"


class UnsupportedError(InputError):
    """A valid file of a kind that is not read."""

    code = "UNSUPPORTED"


class DecodeFailedError(InputError):
    """The compressed stream cannot be decoded."""

    code = "DECODE_FAILED"


class LimitExceededError(InputError):
    """More bytes, pixels, frames or nesting than the settings allow."""

    code = "LIMIT_EXCEEDED"


class QuarantinedError(InputError):
    """The input killed its worker twice and is not tried again."""

    code = "QUARANTINED"


class ArchiveRejectedError(InputError):
    """An archive whose entries point outside, are no regular files, or lie about their sizes."""

    code = "ARCHIVE_REJECTED"


class ChecksumMismatchError(InputError):
    """Bytes that are not those that were announced or catalogued."""

    code = "CHECKSUM_MISMATCH"


class RequestError(IrmsiaError):
    """The request asks for something that does not exist or makes no sense."""


class InvalidRequestError(RequestError):
    """A malformed request or an option out of range."""

    code = "INVALID_REQUEST"


class ModelNotFoundError(RequestError):
    """No ready model of that name."""

    code = "MODEL_NOT_FOUND"


class DatasetNotFoundError(RequestError):
    """No dataset, or no state of it, of that name."""

    code = "DATASET_NOT_FOUND"


class AddressRefusedError(RequestError):
    """An address that must not be asked: not https, or in a private network."""

    code = "ADDRESS_REFUSED"


class NotConfiguredError(RequestError):
    """A token or an extra is missing; the message says how to get it."""

    code = "NOT_CONFIGURED"


class LeakingSplitError(RequestError):
    """Patients, studies or near-duplicates stand in more than one part."""

    code = "LEAKING_SPLIT"


class UploadExpiredError(RequestError):
    """An upload that was kept for a while and is gone."""

    code = "UPLOAD_EXPIRED"


class BundleRejectedError(IrmsiaError):
    """A model bundle that is not whole, not trusted or not verified."""

    code = "BUNDLE_REJECTED"


class ServiceError(IrmsiaError):
    """The platform could not do the work; the input may be fine."""


class TimedOutError(ServiceError):
    """The work took longer than allowed."""

    code = "TIMED_OUT"


class WorkerDiedError(ServiceError):
    """The child process that held the input died."""

    code = "WORKER_DIED"


class OverloadedError(ServiceError):
    """The queue is full; the error says after how many seconds to try again."""

    code = "OVERLOADED"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CancelledError(ServiceError):
    """The caller went away or the server is stopping."""

    code = "CANCELLED"


class UnavailableError(ServiceError):
    """No server answers at the address."""

    code = "UNAVAILABLE"


class SourceFailedError(ServiceError):
    """A public source answers, but not what it should."""

    code = "SOURCE_FAILED"


class AddressInUseError(ServiceError):
    """The address to serve at is taken or cannot be bound."""

    code = "ADDRESS_IN_USE"


class UnsafeSettingsError(ServiceError):
    """Settings that would expose the platform; it refuses to start."""

    code = "UNSAFE_SETTINGS"


class StorageFullError(ServiceError):
    """No room is left to write: the disk, a quota or a file size limit."""

    code = "STORAGE_FULL"


class InternalError(ServiceError):
    """A bug. The log holds the stack, the caller does not."""

    code = "INTERNAL"


def iter_leaves(root: type[IrmsiaError] = IrmsiaError) -> tuple[type[IrmsiaError], ...]:
    """All error classes that carry a code, in the order of the tree above."""
    leaves: list[type[IrmsiaError]] = [root] if root.code else []
    for child in root.__subclasses__():
        leaves.extend(iter_leaves(child))
    return tuple(leaves)


def from_code(code: str, message: str) -> IrmsiaError:
    """The error a ``code`` names, for clients that get it over a wire; unknown codes become `InternalError`."""
    for leaf in iter_leaves():
        if leaf.code == code:
            return leaf(message)
    return InternalError(message)


def from_system(error: OSError | MemoryError, what: str, otherwise: type[IrmsiaError] = InternalError) -> IrmsiaError:
    """What the operating system said, as a leaf: a full disk, a lack of descriptors or memory, else ``otherwise``.

    ``what`` begins the message (``the maps cannot be written``); the error's own text, which holds paths, stays out.
    """
    if isinstance(error, MemoryError):
        return OverloadedError(f"{what}: not enough memory")
    why = os.strerror(error.errno) if error.errno else "the system gave an error"
    if error.errno in _FULL:
        return StorageFullError(f"{what}: {why}")
    if error.errno in _EXHAUSTED:
        return OverloadedError(f"{what}: {why}")
    return otherwise(f"{what}: {why}")
