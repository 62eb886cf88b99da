"""`python -m irmsia.cli.attached COMMAND ...`: an `irmsia` command that ends when its standard input does.

Whoever started it holds the other end of that pipe: however the starter dies, kill -9 included, the command is told by
SIGTERM, and nothing is left running.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import NoReturn


def run() -> NoReturn:
    """Run the command of the command line."""
    threading.Thread(target=_end_with_input, name="irmsia-attached", daemon=True).start()

    from irmsia.cli.main import main

    main()


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run()
