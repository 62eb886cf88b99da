"""The Python client for other people's programs: `DicomDiagnosticClient`, and `AsyncDicomDiagnosticClient`."""

from irmsia.client.answers import AsyncBatchAnswers, BatchResult
from irmsia.client.asynchronous import AsyncDicomDiagnosticClient
from irmsia.client.calls import DiagnoseOptions
from irmsia.client.diagnostic import BatchAnswers, DicomDiagnosticClient
from irmsia.client.retry import RetryPolicy
from irmsia.client.upload import StreamProgress

__all__ = [
    "AsyncBatchAnswers",
    "AsyncDicomDiagnosticClient",
    "BatchAnswers",
    "BatchResult",
    "DiagnoseOptions",
    "DicomDiagnosticClient",
    "RetryPolicy",
    "StreamProgress",
]
