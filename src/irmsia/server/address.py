"""Where a server may listen: loopback alone, unless only known clients can connect."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from irmsia.errors import AddressInUseError, UnsafeSettingsError
from irmsia.server.tls import TlsFiles

_WHY = {
    errno.EADDRINUSE: "is in use; stop what listens there or choose another port",
    errno.EACCES: "may not be opened by this user; choose a port above 1023",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


def listen_address(host: str, tls: TlsFiles | None = None) -> str:
    """The numeric address that ``host`` means: any with mutual TLS, else loopback (127.0.0.0/8, ::1) alone.

    No name but localhost (127.0.0.1) is taken and none is looked up: what was checked is what is bound.

    Raises:
        UnsafeSettingsError: any other address or name.
    """
    address = _address(host)
    if address is None:
        raise UnsafeSettingsError("an address to listen on is numeric (127.0.0.1, ::1), or localhost")
    if not address.is_loopback and (tls is None or tls.client_ca is None):
        raise UnsafeSettingsError(
            "only a loopback address (127.0.0.1, ::1) may be served without server.tls_certificate, server.tls_key "
            "and server.tls_client_ca together: there are no accounts yet"
        )
    return str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_free_port(host: str, port: int) -> None:
    """Try to bind, so that a taken port is one clear error; gRPC itself would share it or log several lines.

    Raises:
        AddressInUseError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # as the server itself will: connections of a killed server may still linger
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            why = _WHY.get(error.errno or 0, "cannot be bound")
            raise AddressInUseError(f"port {port} on {host} {why}") from None
