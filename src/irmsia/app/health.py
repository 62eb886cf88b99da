"""Ask a running server how it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from irmsia.app.configure import AUTO, find_servers
from irmsia.client import DicomDiagnosticClient
from irmsia.findings.service import ServiceHealth
from irmsia.server.run_file import list_running
from irmsia.settings.tree import Settings


def check_health(settings: Settings, servers: str | Sequence[str] | None) -> Iterator[tuple[str, ServiceHealth]]:
    """Each address that was asked and what it says; null asks the server that runs here.

    Raises:
        UnavailableError: one does not answer.
    """
    tls = settings.client
    for target in find_servers(settings, servers or AUTO):
        with DicomDiagnosticClient(target, ca=tls.ca, certificate=tls.certificate, key=tls.key) as client:
            yield target, client.health_check()


def http_door(settings: Settings, target: str) -> str | None:
    """The address of the HTTP door of the server at ``target`` where it runs here; null elsewhere, or without one."""
    return next((server.http_url for server in list_running(settings.home) if server.grpc_target == target), None)
