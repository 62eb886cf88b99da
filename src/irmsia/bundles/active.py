"""Which bundle serves, and which served before: ``IRMSIA_HOME/active.json``, one file, replaced whole.

``{"id": ID, "previous": [ID, ...]}``. A null id means the packaged starter, whichever the package holds; ``previous``
is oldest first. Without the file the starter serves.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from irmsia import durable
from irmsia.bundles.canonical import canonical_bytes, parse_json
from irmsia.bundles.read import open_regular
from irmsia.errors import BundleRejectedError, IrmsiaError, UnsafeSettingsError

ACTIVE = "active.json"

MAX_HISTORY = 100
"""Older activations are forgotten."""

_MAX_BYTES = 64 * 1024
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Activation:
    """``identity``: the bundle that serves, null for the packaged starter. ``previous``: those before it, last last."""

    identity: str | None = None
    previous: tuple[str | None, ...] = ()

    def then(self, identity: str | None) -> Activation:
        """``identity`` serves from now on; activating what serves already changes nothing."""
        if identity == self.identity:
            return self
        return Activation(identity, (*self.previous, self.identity)[-MAX_HISTORY:])

    def back(self) -> Activation:
        """What served before serves again, and is forgotten as a past one.

        Raises:
            BundleRejectedError: nothing served before.
        """
        if not self.previous:
            raise BundleRejectedError("nothing was active before; `irmsia models list` shows what there is")
        return Activation(self.previous[-1], self.previous[:-1])


def read_active(home: Path) -> Activation:
    """What active.json says.

    Raises:
        BundleRejectedError: it is not a small regular file of this form; nobody guesses what was meant.
        UnsafeSettingsError: other users may write it.
    """
    data = _read(home / ACTIVE)
    if data is None:
        return Activation()
    try:
        value = parse_json(data)
    except BundleRejectedError as error:
        raise BundleRejectedError(f"{ACTIVE} is {error.message}") from error
    if not isinstance(value, dict) or "id" not in value or not value.keys() <= {"id", "previous"}:
        raise BundleRejectedError(f"{ACTIVE} names no bundle id")
    previous = value.get("previous", [])
    if not isinstance(previous, list) or not all(map(_is_identity, [value["id"], *previous])):
        raise BundleRejectedError(f"{ACTIVE} names no bundle id")
    return Activation(value["id"], tuple(previous))


def set_active(home: Path, identity: str | None) -> Activation:
    """Let ``identity`` serve from now on, null for the packaged starter; processes that do so at once take turns.

    A malformed active.json is replaced: this is an explicit choice, and its history cannot be read anyway.

    Raises:
        OSError: what the file system says; then the file stays.
    """
    with _turn(home):
        try:
            after = read_active(home).then(identity)
        except IrmsiaError:
            after = Activation(identity)
        _write(home, after)
    return after


def go_back(home: Path, expected: str | None) -> Activation:
    """Let ``expected``, which served before, serve again.

    Raises:
        BundleRejectedError: nothing served before, or another activation came first; then the file stays.
        BundleRejectedError, UnsafeSettingsError: as `read_active`.
        OSError: what the file system says; then the file stays.
    """
    with _turn(home):
        after = read_active(home).back()
        if after.identity != expected:
            raise BundleRejectedError("another model was activated meanwhile; look again and repeat")
        _write(home, after)
    return after


def _write(home: Path, activation: Activation) -> None:
    value = {"id": activation.identity, "previous": list(activation.previous)}
    durable.write_bytes(home / ACTIVE, canonical_bytes(value) + b"\n")


def _is_identity(value: object) -> bool:
    return value is None or (isinstance(value, str) and _ID.fullmatch(value) is not None)


def _read(path: Path) -> bytes | None:
    try:
        file = open_regular(path, flags=os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleRejectedError(f"{ACTIVE} is not a regular file that can be read") from error
    with file:
        status = os.fstat(file.fileno())
        if status.st_mode & stat.S_IWOTH or status.st_uid not in {0, os.geteuid()}:
            raise UnsafeSettingsError(f"other users may write {ACTIVE}; make it yours and chmod 644 it")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise BundleRejectedError(f"{ACTIVE} is too large")
    return data


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / ".active.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the system lets go when the process dies, however it dies
        yield
    finally:
        os.close(descriptor)
