"""Looking at a server's decoders from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

PATIENCE_S = 120.0
_QUIET_S = 1.0


def until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> float:
    """Seconds until a condition came true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came true"
        time.sleep(0.01)  # between two looks, not for luck
    return time.monotonic() - began


def living(server: psutil.Process) -> set[int]:
    """Its children that are not only waiting to be collected."""
    return {child.pid for child in server.children() if child.status() != psutil.STATUS_ZOMBIE}


def until_idle(server: psutil.Process, children: int) -> float:
    """Seconds until so many children live and none works: one that is still importing would be taken for a busy one."""
    return until(lambda: len(living(server)) == children and _is_idle(server))


def busy_child(server: psutil.Process) -> psutil.Process:
    """The child that works; `until_idle` before the one item was given to the server."""
    before = {child: _seconds(child) for child in server.children()}
    found: list[psutil.Process] = []
    until(lambda: bool(found.extend(child for child in before if _seconds(child) > before[child] + 0.3) or found))
    return found[0]


def _is_idle(server: psutil.Process) -> bool:
    before = {child: _seconds(child) for child in server.children()}
    time.sleep(_QUIET_S)  # a span to measure over, not for luck
    return before == {child: _seconds(child) for child in server.children()}


def _seconds(child: psutil.Process) -> float:
    try:
        times = child.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
