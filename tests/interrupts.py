"""Children that Ctrl-C reaches, also where the tests were started with it ignored, as a job of a script is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_reach_children() -> Iterator[None]:
    """A process started within inherits the default for SIGINT, not that it is ignored. Main thread only."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
