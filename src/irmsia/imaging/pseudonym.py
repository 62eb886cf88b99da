"""Keyed pseudonyms: one patient gets one name on one machine, and nobody without its key can tell whom it means.

HMAC-SHA-256 (RFC 2104), cut to 128 bits. The key is made at first use and never leaves ``IRMSIA_HOME``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from irmsia import durable
from irmsia.errors import UnsafeSettingsError, from_system

KEY_FILE = "pseudonym.key"
KEY_BYTES = 32
_DIGITS = 32


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """``<kind>-<32 hex digits>``: depends on ``key``, ``kind`` ("patient", "study" ...) and ``value`` alone.

    Equal values of two kinds get unlike pseudonyms.

    Raises:
        ValueError: a key shorter than 32 bytes, which could be guessed.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"a pseudonym key holds at least {KEY_BYTES} bytes")
    message = f"{kind}\0{value}".encode()
    return f"{kind}-{hmac.new(key, message, hashlib.sha256).hexdigest()[:_DIGITS]}"


def load_or_create_key(home: Path) -> bytes:
    """The key of this ``IRMSIA_HOME`` (32 bytes), made at first use with mode 0600; safe between processes.

    Raises:
        UnsafeSettingsError: others may read the key, or it is no regular file of 32 bytes, or belongs to someone else.
        OSError: the folder cannot be written.
    """
    path = home / KEY_FILE
    home.mkdir(parents=True, exist_ok=True)
    if not (path.is_symlink() or path.exists()):
        durable.create_bytes(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    """Check and read one open file, so that nobody can change it in between."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise from_system(
            error, "the pseudonym key must be a file that the platform's user can read", UnsafeSettingsError
        ) from error
    try:
        _check_access(os.fstat(descriptor))
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise UnsafeSettingsError(f"the pseudonym key does not hold {KEY_BYTES} bytes; restore it from a backup")
    return key


def _check_access(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeSettingsError("the pseudonym key is no regular file")
    if os.name != "posix":
        return
    if status.st_mode & 0o077:
        raise UnsafeSettingsError("others may read the pseudonym key; set its mode to 0600")
    if status.st_uid != os.geteuid():
        raise UnsafeSettingsError("the pseudonym key belongs to another user")
