from __future__ import annotations

import socket

import pytest

from irmsia.errors import AddressInUseError, UnsafeSettingsError
from irmsia.server.address import loopback_address, require_free_port


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "", "::ffff:127.0.0.1", "unix:/tmp/s"])
def test_only_loopback(host: str) -> None:
    """Anything but a loopback address refuses to start, in one line."""
    with pytest.raises(UnsafeSettingsError) as caught:
        loopback_address(host)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_loopback_is_allowed(host: str) -> None:
    """Every loopback address and the name localhost are."""
    assert loopback_address(host) in {"127.0.0.1", "127.1.2.3", "::1"}


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
