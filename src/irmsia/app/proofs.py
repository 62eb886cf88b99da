"""Notes that the golden records of a bundle passed on this machine: ``IRMSIA_HOME/proofs/<id>.json``.

A note spares a server at start what was proven before. It holds only for the same software, runtime, precision and
processor; `irmsia models activate` always proves again.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from irmsia import __version__, durable
from irmsia.bundles.canonical import canonical_bytes, parse_json
from irmsia.errors import BundleRejectedError
from irmsia.settings.tree import Settings


def is_proven(settings: Settings, identity: str) -> bool:
    """Whether this machine has noted that the golden records of the bundle passed, as it would serve it now."""
    try:
        return parse_json(_path(settings, identity).read_bytes()) == _circumstances(settings, identity)
    except (OSError, BundleRejectedError):
        return False


def note_proof(settings: Settings, identity: str) -> None:
    """Remember that the golden records of the bundle passed here."""
    path = _path(settings, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, canonical_bytes(_circumstances(settings, identity)) + b"\n")


def forget_proof(settings: Settings, identity: str) -> None:
    """Remember no longer that they passed: they do not."""
    _path(settings, identity).unlink(missing_ok=True)


def _path(settings: Settings, identity: str) -> Path:
    return settings.home / "proofs" / f"{identity}.json"


def _circumstances(settings: Settings, identity: str) -> dict[str, str]:
    return {
        "bundle": identity,
        "software": f"irmsia {__version__}",
        "runtime": f"{settings.engine.runtime} {_release(settings.engine.runtime)}",
        "precision": settings.engine.precision,
        "processor": _processor(),
    }


def _release(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "of this package"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{platform.machine()} {next(names, platform.processor())}"
