"""The Python client for other people's programs: `DicomDiagnosticClient`."""

from irmsia.client.diagnostic import DicomDiagnosticClient

__all__ = ["DicomDiagnosticClient"]
