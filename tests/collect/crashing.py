"""Processes that die in the middle of a download, each at another call to the operating system.

``python -m tests.collect.crashing FROM TO``: for every k a child dies (as by kill -9) at its k-th call, a second one
completes the work, and what stands there is compared. Prints one JSON line. Forks before any thread is started.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.collect.test_faults import get, is_whole, plan_from
from tests.faults.failing import Counter, failing

_DIED = 9


def _die() -> BaseException:
    os._exit(_DIED)


def _in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - the parent sees the code
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(source: Path, target: Path) -> None:
    """Let a child die at every call."""
    plan = plan_from(source)
    found = {"points": 0, "whole_after": 0, "calls_to_heal_failed": 0}
    for k in range(1, 1000):
        shutil.rmtree(target, ignore_errors=True)

        def die_at(k: int = k) -> None:
            with failing(Counter(k, _die)):
                get(plan, target)

        if _in_child(die_at) != _DIED:
            break
        found["points"] += 1
        found["calls_to_heal_failed"] += _in_child(lambda: get(plan, target)) != 0
        found["whole_after"] += is_whole(target)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
