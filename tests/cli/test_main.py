"""The edge of the command line: help, exit codes, and never a traceback."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import typer
from typer.testing import CliRunner

from irmsia import errors
from irmsia.cli import main as cli
from irmsia.cli import run
from irmsia.errors import IrmsiaError

HEAVY = (
    "numpy",
    "sqlalchemy",
    "alembic",
    "cv2",
    "pydicom",
    "grpc",
    "openvino",
    "onnx",
    "torch",
    "irmsia.inference",
    "irmsia.imaging",
)


@pytest.fixture(autouse=True)
def _restore_log() -> Iterator[None]:
    """The log of the test run stands as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def list_commands() -> list[tuple[str, ...]]:
    """Return the words of every command."""
    found: list[tuple[str, ...]] = []
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        found.extend((name, child) for child in getattr(command, "commands", {}))
        found.extend([] if hasattr(command, "commands") else [(name,)])
    return found


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["irmsia", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def _plant(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `irmsia version` end with ``error``."""

    def fail(text: object) -> None:
        raise error

    monkeypatch.setattr(typer, "echo", fail)


@pytest.mark.parametrize("command", list_commands(), ids=" ".join)
def test_every_command_s_help_has_an_example(command: tuple[str, ...]) -> None:
    """The example names the command itself."""
    text = CliRunner().invoke(cli.app, [*command, "--help"]).output
    assert "Example" in text
    assert f"irmsia {' '.join(command)}" in text.split("Example", 1)[1]


def test_help_imports_nothing_heavy() -> None:
    """`irmsia --help` is quick because what works is imported by the command that needs it."""
    code = f"import sys, irmsia.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("diagnose",), ("diagnose", "--nothing", "a"), ("serve", "--port", "70000"), ("image", "show", "a")],
)
def test_wrong_usage_is_exit_2(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """Usage errors never reach the work."""
    assert _run(monkeypatch, *arguments) == 2


def test_a_term_that_does_not_exist_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is caught before a model is loaded."""
    assert _run(monkeypatch, "diagnose", "a.dcm", "--term", "boredom") == 2
    assert "INVALID_REQUEST" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: errors.InvalidRequestError("text"), 2),
        (lambda: errors.UnavailableError("text"), 3),
        (lambda: errors.UnsafeSettingsError("text"), 78),
        (lambda: errors.BundleRejectedError("text"), 1),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: Callable[[], IrmsiaError], code: int
) -> None:
    """The line goes to standard error and holds the code."""
    error = make()
    _plant(monkeypatch, error)
    assert _run(monkeypatch, "version") == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"irmsia: text ({error.code})\n")


def test_a_bug_shows_no_traceback_and_no_text_of_its_exception(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """INTERNAL on one line; the log says where, without what a library may have put into the text."""
    logging.getLogger().handlers[:] = []  # as in a fresh process, where no setting has been read yet
    _plant(monkeypatch, RuntimeError("Doe^Jane in /home/doe/scan.dcm"))
    assert _run(monkeypatch, "version") == 3
    err = capsys.readouterr().err
    assert "(INTERNAL)" in err
    assert "Traceback" not in err
    assert "Doe" not in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError(errno.EPIPE, "")])
def test_an_interrupt_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    """Ctrl-C is exit 130; a reader that went away is no error worth a word."""
    _plant(monkeypatch, error)
    code = _run(monkeypatch, "version")
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert capfd.readouterr().err == ""


def test_ctrl_c_while_modules_are_read_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console script ends with 130 and no traceback even before its commands exist."""

    class Interrupt:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "irmsia.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "irmsia.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupt(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 130


def test_an_interrupt_that_a_library_swallows_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension module that is being imported turns Ctrl-C into an ImportError: still an interrupt, no bug."""

    def swallow() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ImportError("a library's own words")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(cli, "_run", swallow)
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert left.value.code == 130


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--level", "abc", "not a number"),
        ("--frame", "-1", "must be at least 0"),
        ("--frame", "x", "not a whole number"),
        ("--function", "nix", "'LINEAR', 'LINEAR_EXACT', 'SIGMOID'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_plainly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str, words: str
) -> None:
    """Exit code 2 and own words with the option's name; nothing of how the library beneath says it."""
    monkeypatch.setenv("COLUMNS", "200")
    assert _run(monkeypatch, "image", "show", "a.dcm", "--out", "a.png", option, value) == 2
    said = capsys.readouterr().err
    assert words in said and option in said
    assert "Input should" not in said and "Value error" not in said
