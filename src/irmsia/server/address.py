"""Where a server may listen: loopback alone, until there are accounts."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from irmsia.errors import AddressInUseError, UnsafeSettingsError

_WHY = {
    errno.EADDRINUSE: "is in use; stop what listens there or choose another port",
    errno.EACCES: "may not be opened by this user; choose a port above 1023",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


def loopback_address(host: str) -> str:
    """The numeric loopback address that ``host`` means: 127.0.0.0/8, ::1 or the name localhost (127.0.0.1).

    No name is looked up: what was checked is what is bound.

    Raises:
        UnsafeSettingsError: any other address.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise UnsafeSettingsError("only a loopback address (127.0.0.1, ::1) may be served: there are no accounts yet")
    return str(address)


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
