"""Settings become objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from irmsia.app.compose import open_service
from irmsia.app.configure import find_servers, read_settings
from irmsia.app.serve import require_private_files
from irmsia.errors import InvalidRequestError, UnavailableError, UnsafeSettingsError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home of its own, and the log of the test run as it was."""
    import logging

    monkeypatch.setenv("IRMSIA_HOME", str(tmp_path))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that was not given leaves the setting alone."""
    monkeypatch.setenv("IRMSIA_SERVER__GRPC_PORT", "50061")
    assert read_settings(grpc_port=None).server.grpc_port == 50061
    assert read_settings(grpc_port=50062).server.grpc_port == 50062


def test_a_malformed_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value may be a secret."""
    monkeypatch.setenv("IRMSIA_LIMITS__FRAMES", "s3cret")
    with pytest.raises(InvalidRequestError, match="IRMSIA_LIMITS__FRAMES") as caught:
        read_settings()
    assert "s3cret" not in caught.value.message


def test_no_server_is_a_clear_error() -> None:
    """`auto` finds nothing where nothing runs, and says what to do; a dead address is the same kind of error."""
    with pytest.raises(UnavailableError, match="irmsia serve"):
        find_servers(read_settings(), "auto")
    with pytest.raises(UnavailableError), open_service(read_settings(), "127.0.0.1:9"):
        pass


def test_a_home_that_cannot_be_written_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message names the setting, not the path."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("IRMSIA_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidRequestError, match="IRMSIA_HOME") as caught, open_service(read_settings(), None):
        pass
    assert str(tmp_path) not in caught.value.message


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("name", ["private/machine.pem", "pseudonym.key"])
def test_a_secret_that_others_may_read_stops_the_server(home: Path, name: str) -> None:
    """safety.md A5: one line, and no path in it."""
    secret = home / name
    secret.parent.mkdir(exist_ok=True)
    secret.write_bytes(b"x")
    secret.chmod(0o644)
    with pytest.raises(UnsafeSettingsError) as caught:
        require_private_files(home)
    assert str(home) not in caught.value.message
    secret.chmod(0o600)
    secret.with_name("gone.key").symlink_to("nowhere")
    require_private_files(home)
