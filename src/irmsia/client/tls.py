"""What a client needs to talk to a server by TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from irmsia.errors import InvalidRequestError


def read_credentials(ca: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    """The credentials that the PEM files hold; null without any of them: a connection in the clear.

    ``ca``: who may have signed the server's certificate; null for the authorities that gRPC brings. ``certificate``
    and ``key``: this client's own, for a server that asks for one.

    Raises:
        InvalidRequestError: a file cannot be read or holds something else, or one of the last two is missing.
    """
    if ca is None and certificate is None and key is None:
        return None
    if (certificate is None) != (key is None):
        raise InvalidRequestError("a client's certificate and its key go together")
    _check(ca, certificate, key)
    return grpc.ssl_channel_credentials(_read(ca), _read(key), _read(certificate))


def _check(ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """gRPC itself would only say, at the first call, that no server answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
        if certificate is not None:
            # An encrypted key must fail here, not ask somebody at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError:
        raise InvalidRequestError("a certificate or key is no PEM file, or the key is another's") from None
    except OSError:
        raise InvalidRequestError("a certificate or key cannot be read") from None


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
