from __future__ import annotations

import signal
from pathlib import Path

import pytest

from irmsia.errors import AddressInUseError, InternalError, UnsafeSettingsError
from irmsia.server.address import require_free_port
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.run_file import RunningServer, run_folder
from irmsia.server.serve import serve
from tests.server.scripted import ScriptedService, open_door


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Without its run file a server would not be found, so it does not serve: typed, no path said, the port free."""
    run_folder(tmp_path).write_text("in the way")
    with open_door() as other:
        port = other.server.port
    with pytest.raises(InternalError) as caught:
        serve(ScriptedService(), GrpcServerConfig(port=port), tmp_path)
    assert str(tmp_path) not in caught.value.message
    require_free_port("127.0.0.1", port)


def test_what_on_ready_raises_ends_the_server(tmp_path: Path) -> None:
    """An error of the caller's own is not swallowed and leaves no run file."""

    def on_ready(running: RunningServer) -> None:
        raise KeyError(running.pid)

    with pytest.raises(KeyError):
        serve(ScriptedService(), GrpcServerConfig(port=0), tmp_path, on_ready=on_ready)
    assert list(run_folder(tmp_path).iterdir()) == []


def test_signals_are_given_back(tmp_path: Path) -> None:
    """After a server has ended, Ctrl-C means what it meant before."""
    before = signal.getsignal(signal.SIGINT)
    ended = serve(
        ScriptedService(),
        GrpcServerConfig(port=0),
        tmp_path,
        on_ready=lambda running: signal.raise_signal(signal.SIGINT),
    )
    assert ended is True
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("host", "error"), [("0.0.0.0", UnsafeSettingsError), ("127.0.0.1", AddressInUseError)])
def test_a_start_that_fails_leaves_no_file(tmp_path: Path, host: str, error: type[Exception]) -> None:
    """An address that is refused or taken ends before anything is announced."""
    with open_door() as other, pytest.raises(error):
        serve(ScriptedService(), GrpcServerConfig(host=host, port=other.server.port), tmp_path)
    assert not run_folder(tmp_path).exists()
