"""Ask a running server how it is."""

from __future__ import annotations

from irmsia.app.configure import AUTO, find_server
from irmsia.client import DicomDiagnosticClient
from irmsia.findings.service import ServiceHealth
from irmsia.settings.tree import Settings


def check_health(settings: Settings, server: str | None) -> tuple[str, ServiceHealth]:
    """The address that was asked and what it says; null asks the server that runs here.

    Raises:
        UnavailableError: none answers.
    """
    target = find_server(settings, server or AUTO)
    with DicomDiagnosticClient(target) as client:
        return target, client.health_check()
