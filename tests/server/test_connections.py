from __future__ import annotations

import socket
from pathlib import Path

import pytest

from irmsia.server.grpc.connections import close_connection


def count_descriptors() -> int:
    """Open ones of this process."""
    return len(list(Path("/dev/fd").iterdir()))


def listen(host: str) -> socket.socket:
    """A server's socket; skips where the system has no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    except OSError:
        pytest.skip(f"nothing can listen at {host} here")


@pytest.mark.parametrize(
    ("host", "listening", "peer"),
    [
        ("127.0.0.1", "127.0.0.1", "ipv4:127.0.0.1:{}"),
        ("127.0.0.1", "::", "ipv4:127.0.0.1:{}"),  # as gRPC listens: IPv4 within IPv6
        ("::1", "::1", "ipv6:%5B::1%5D:{}"),
        ("::1", "::1", "ipv6:[::1]:{}"),
    ],
)
def test_one_connection_ends_and_no_other(host: str, listening: str, peer: str) -> None:
    """The peer that is named sees the end of its connection; another one of the same host goes on."""
    before = count_descriptors()
    with (
        listen(listening) as listener,
        socket.create_connection((host, listener.getsockname()[1])) as named,
        listener.accept()[0],
        socket.create_connection((host, listener.getsockname()[1])) as other,
        listener.accept()[0] as accepted,
    ):
        assert close_connection(peer.format(named.getsockname()[1]))
        named.settimeout(30)
        assert named.recv(1) == b""
        accepted.sendall(b"x")
        assert other.recv(1) == b"x"
    assert count_descriptors() == before


@pytest.mark.parametrize("peer", ["", "unix:", "unix:/tmp/socket", "ipv4:127.0.0.1:1", "ipv4:127.0.0.1:x", "unknown"])
def test_peers_that_are_none(peer: str) -> None:
    """A name that belongs to no connection of this process ends nothing and raises nothing."""
    assert not close_connection(peer)
