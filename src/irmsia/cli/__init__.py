"""The command line: commands, cards, tables and progress bars. What they show is made in `irmsia.app`."""

import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the `irmsia` command. Ctrl-C while its modules are still being read ends it as quietly as later."""
    try:
        from irmsia.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)
