"""Tests that press Ctrl-C do not depend on how the test run itself was started."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.interrupts import interrupts_reach_children

ASK = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


def _child() -> str:
    with subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True) as child:
        return child.communicate()[0].strip()


def test_ctrl_c_reaches_a_child_of_a_run_that_ignores_it() -> None:
    """A background job of a script ignores SIGINT, and so would every child: within the block none does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_reach_children():
            reached = _child()
        assert (reached, _child()) == ("True", "False")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
