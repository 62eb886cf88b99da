"""Hanging up on a peer that does not read.

gRPC keeps a message and its call until the peer has taken it, however long that takes, and offers a server no way to
end one such call. A peer whose flow-control window stays shut would so hold places and memory: its connection is shut.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

_IPV4_WITHIN_IPV6 = "::ffff:"
_DESCRIPTORS = Path("/proc/self/fd"), Path("/dev/fd")


def close_connection(peer: str) -> bool:
    """Shut this process's connection to ``peer``, as gRPC names it: ``ipv4:ADDRESS:PORT``, ``ipv6:[ADDRESS]:PORT``.

    All calls of that connection end. False where there is none, or where the system lists no descriptors.
    """
    _, _, name = peer.replace("%5B", "[").replace("%5D", "]").partition(":")
    host, _, port = name.rpartition(":")
    folder = next((folder for folder in _DESCRIPTORS if folder.is_dir()), None)
    if folder is None or not port.isdecimal():
        return False
    address = host.strip("[]").removeprefix(_IPV4_WITHIN_IPV6), int(port)
    return any([_shut(descriptor, address) for descriptor in _list_descriptors(folder)])


def _list_descriptors(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def _shut(descriptor: int, address: tuple[str, int]) -> bool:
    """Shut the socket behind ``descriptor`` if it is connected to ``address``."""
    with contextlib.suppress(OSError):  # closed meanwhile, or no connected socket
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and _peer_address(connection) == address:
                connection.shutdown(socket.SHUT_RDWR)
                return True
    return False


def _peer_address(connection: socket.socket) -> tuple[str, int]:
    host, port, *_ = connection.getpeername()
    return host.removeprefix(_IPV4_WITHIN_IPV6), port
