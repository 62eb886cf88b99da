"""What `serve` does at its edges, one case a process: ``python -m tests.server.serve_cases NAME HOME``.

`serve` takes the signals of its process and gRPC's one polling thread, so no other test may share the process.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from irmsia.errors import AddressInUseError, InternalError, UnsafeSettingsError
from irmsia.server.address import require_free_port
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.run_file import RunningServer, run_folder
from irmsia.server.serve import serve
from tests.server.scripted import ScriptedService, open_door


def home_that_cannot_be_written(home: Path) -> None:
    """Typed, no path said, the port free again."""
    run_folder(home).write_text("in the way")
    with open_door() as other:
        port = other.server.port
    message = ""
    try:
        serve(ScriptedService(), GrpcServerConfig(port=port), home)
    except InternalError as error:
        message = error.message
    assert message
    assert str(home) not in message
    require_free_port("127.0.0.1", port)


def on_ready_raises(home: Path) -> None:
    """The caller's own error comes out, no run file stays."""

    def on_ready(running: RunningServer) -> None:
        raise KeyError(running.pid)

    try:
        serve(ScriptedService(), GrpcServerConfig(port=0), home, on_ready=on_ready)
        raise AssertionError("the error was swallowed")
    except KeyError:
        assert list(run_folder(home).iterdir()) == []


def signals_given_back(home: Path) -> None:
    """After the end Ctrl-C means what it meant before."""
    before = signal.getsignal(signal.SIGINT)
    ended = serve(
        ScriptedService(),
        GrpcServerConfig(port=0),
        home,
        on_ready=lambda running: signal.raise_signal(signal.SIGINT),
    )
    assert ended is True
    assert signal.getsignal(signal.SIGINT) is before


def address_refused(home: Path) -> None:
    """Nothing is announced at an address that others reach."""
    _start_fails(home, "0.0.0.0", UnsafeSettingsError)


def address_taken(home: Path) -> None:
    """Nothing is announced at a port that is taken."""
    _start_fails(home, "127.0.0.1", AddressInUseError)


def _start_fails(home: Path, host: str, error: type[Exception]) -> None:
    with open_door() as other:
        try:
            serve(ScriptedService(), GrpcServerConfig(host=host, port=other.server.port), home)
            raise AssertionError("it served")
        except error:
            assert not run_folder(home).exists()


CASES = {
    case.__name__: case
    for case in (home_that_cannot_be_written, on_ready_raises, signals_given_back, address_refused, address_taken)
}

if __name__ == "__main__":
    CASES[sys.argv[1]](Path(sys.argv[2]))
