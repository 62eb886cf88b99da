"""Standard output for answers, standard error for everything else; text from outside made safe for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from rich.console import Console

from irmsia.app.printable import printable

__all__ = ["fail", "make_console", "note", "print_json", "printable"]

_MAX_WIDTH = 100


def make_console(*, stderr: bool = False) -> Console:
    """A console no wider than cards read well; colours only in a terminal (NO_COLOR is honoured)."""
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal and console.width > _MAX_WIDTH:
        console.width = _MAX_WIDTH
    return console


def print_json(value: Mapping[str, object]) -> None:
    """Write one JSON object as one line of ASCII to standard output, at once."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line for people on standard error."""
    make_console(stderr=True).print(printable(text), style="dim", markup=False, soft_wrap=True)


def fail(code: str, message: str) -> None:
    """The one line of a failure on standard error: its code and what to do."""
    make_console(stderr=True).print(f"irmsia: {printable(message)} ({code})", style="red", markup=False, soft_wrap=True)
