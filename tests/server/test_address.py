from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from irmsia.errors import AddressInUseError, UnsafeSettingsError
from irmsia.server.address import listen_address, require_free_port
from irmsia.server.tls import TlsFiles


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "", "::ffff:127.0.0.1", "unix:/tmp/s"])
def test_only_loopback(host: str) -> None:
    """Anything but a loopback address refuses to start, in one line."""
    with pytest.raises(UnsafeSettingsError) as caught:
        listen_address(host)
    assert "\n" not in caught.value.message


def test_mutual_tls_opens_other_addresses() -> None:
    """Where every client must show a certificate any numeric address may be served; TLS alone is not enough."""
    one_way = TlsFiles(Path("c"), Path("k"))
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UnsafeSettingsError):
            listen_address(host, one_way)
        assert listen_address(host, replace(one_way, client_ca=Path("a"))) == host
    with pytest.raises(UnsafeSettingsError):
        listen_address("example.org", replace(one_way, client_ca=Path("a")))
    assert listen_address("::1", one_way) == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_loopback_is_allowed(host: str) -> None:
    """Every loopback address and the name localhost are."""
    assert listen_address(host) in {"127.0.0.1", "127.1.2.3", "::1"}


def test_the_probe_of_a_port() -> None:
    """A stranger's port is in use, one that cannot be opened says so, a free one is fine and stays free."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        stranger.listen()
        with pytest.raises(AddressInUseError, match="in use"):
            require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", port)
    with pytest.raises(AddressInUseError, match="not an address"):
        require_free_port("192.0.2.1", port)
