"""The Python client for other people's programs: `DicomDiagnosticClient`, and `AsyncDicomDiagnosticClient`."""

from irmsia.client.asynchronous import AsyncDicomDiagnosticClient
from irmsia.client.calls import DiagnoseOptions
from irmsia.client.diagnostic import DicomDiagnosticClient
from irmsia.client.retry import RetryPolicy
from irmsia.client.upload import StreamProgress

__all__ = [
    "AsyncDicomDiagnosticClient",
    "DiagnoseOptions",
    "DicomDiagnosticClient",
    "RetryPolicy",
    "StreamProgress",
]
