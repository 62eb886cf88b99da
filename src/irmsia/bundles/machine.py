"""Keyed digests of this machine: what it wrote for itself is told from what anybody else put there."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from irmsia.bundles.signing import machine_key

_CONTEXT = b"irmsia-machine-v1\n"


class MachineSeal:
    """HMAC-SHA256 under a key derived from this machine's private key, another one for each ``purpose``.

    The private key is made when there is none yet.

    Raises:
        UnsafeSettingsError, OSError: as `irmsia.bundles.signing.machine_key`.
    """

    def __init__(self, home: Path, purpose: str) -> None:
        private = machine_key(home).private_bytes_raw()
        self._key = hmac.digest(private, _CONTEXT + purpose.encode("ascii"), hashlib.sha256)

    def digest(self, *parts: bytes) -> bytes:
        """32 bytes over ``parts`` and where one ends and the next begins."""
        made = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            made.update(len(part).to_bytes(8, "big"))
            made.update(part)
        return made.digest()

    def fits(self, digest: bytes, *parts: bytes) -> bool:
        """Whether ``digest`` was made here of ``parts``."""
        return hmac.compare_digest(digest, self.digest(*parts))
