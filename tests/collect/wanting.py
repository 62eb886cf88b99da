"""What the tests of collecting share: settings for this machine, plans, and a look at what a folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from irmsia.datasets.collect.protocol import Checksum, Offer, Plan, Wanted
from irmsia.datasets.collect.web import Web
from irmsia.settings.tree import CollectSettings

OFFER = Offer("url", "set", "A set", licence="CC BY 4.0", citation="Somebody, 2025")


def local_settings(**more: Any) -> CollectSettings:
    """Settings under which this machine may be asked, quickly."""
    values = {"allow_loopback": True, "host_rate": 5000.0, "stall_seconds": 5.0, "retries": 3, **more}
    return CollectSettings(**values)


def local_web(**more: Any) -> Web:
    """A web that asks this machine and waits for little."""
    return Web(local_settings(**more), pause_s=0.001)


def plan_of(files: Iterable[Wanted], **documents: bytes) -> Plan:
    """A plan of the set."""
    return Plan(OFFER, tuple(files), documents={name.replace("__", "."): data for name, data in documents.items()})


def wanted(url: str, path: str, content: bytes | None = None, **more: Any) -> Wanted:
    """A file; with ``content`` its size and digest are told."""
    if content is not None:
        more = {"bytes": len(content), "checksum": Checksum("md5", hashlib.md5(content).hexdigest()), **more}
    return Wanted(url, path, **more)


def noise(seed: int, size: int) -> bytes:
    """Bytes that nothing packs, the same every time."""
    blocks = (hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def tree(root: Path) -> dict[str, str]:
    """Path below ``root`` -> SHA-256 of every file, hidden ones too; links by what they say."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def digest(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()
