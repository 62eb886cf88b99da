"""TLS of the gRPC door."""

from __future__ import annotations

import grpc

from irmsia.server.tls import TlsCertificates, TlsContent


def server_credentials(certificates: TlsCertificates, *, require_client: bool) -> grpc.ServerCredentials:
    """Credentials whose certificate is asked for anew at every connection; ``require_client``: mutual TLS."""
    last = certificates.content()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        now = certificates.content()
        if now is last:
            return None  # as before
        last = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(_configuration(last), changed, require_client)


def _configuration(content: TlsContent) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(content.key, content.certificate)], content.client_ca)
