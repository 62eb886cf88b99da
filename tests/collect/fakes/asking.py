"""A `Context` for sources that asks stand-ins on loopback, fast and with little patience."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from irmsia.datasets.collect.registry import Context
from irmsia.datasets.collect.web import Web
from irmsia.settings.tree import CollectSettings


@contextmanager
def asking(home: Path, *, options: dict[str, str] | None = None, **settings: Any) -> Iterator[Context]:
    """The context; ``settings`` as in `CollectSettings`."""
    quick = {
        "allow_loopback": True,
        "host_rate": 10_000.0,
        "s3_rate": 10_000.0,
        "retries": 2,
        "stall_seconds": 2.0,
    } | settings
    told = CollectSettings(**quick)
    with Web(told, pause_s=0.001) as web:
        yield Context(web, told, home, options or {})
