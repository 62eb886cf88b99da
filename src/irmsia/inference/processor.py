"""What this processor is: results and compiled networks hold for one model with one set of instructions only."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

_MODEL = ("model name", "cpu model", "cpu part", "hardware")
_FLAGS = ("flags", "features", "isa")


@functools.cache
def processor_identity() -> str:
    """Name of the processor and a digest of its instruction sets, as the kernel states them (Linux), else the name."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}".strip()
    return identity_of(text)


def identity_of(cpuinfo: str) -> str:
    """`processor_identity` of a text in the form of ``/proc/cpuinfo``: its first processor."""
    first = cpuinfo.strip().split("\n\n", 1)[0]
    fields = {
        key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in first.split("\n"))
    }
    name = next((fields[key] for key in _MODEL if fields.get(key)), platform.machine())
    flags = " ".join(sorted(word for key in _FLAGS for word in fields.get(key, "").split()))
    return f"{name} {hashlib.sha256(flags.encode()).hexdigest()[:16]}"
