"""One line typed by a person, where a signal is never lost."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def read_line(prompt: str) -> str:
    """What is typed after ``prompt``, without its line end.

    `input` may sleep on through a Ctrl-C that comes between its prompt and its read; this wakes up for it.

    Raises:
        EOFError: the input has ended.
        KeyboardInterrupt: Ctrl-C.
    """
    sys.stdout.write(prompt)
    sys.stdout.flush()
    line = bytearray()
    with _waking() as signalled:
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([0, signalled], [], [])
            if 0 not in ready:  # a signal whose handler let things go on
                os.read(signalled, 64)
                continue
            byte = os.read(0, 1)
            if not byte:
                raise EOFError
            line += byte
    return os.fsdecode(bytes(line)).rstrip("\r\n")


@contextmanager
def _waking() -> Iterator[int]:
    """A descriptor that can be read as soon as a signal has come, and whose handler runs before anything else does."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
