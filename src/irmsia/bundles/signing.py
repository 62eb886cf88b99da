"""Who vouches for a bundle: Ed25519 over its id, keys that are trusted, the key of this machine.

Key files are PEM. A private key lies in ``IRMSIA_HOME/private`` (0700) with mode 0600 and never anywhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from irmsia import durable
from irmsia.errors import (
    BundleRejectedError,
    InvalidRequestError,
    NotFoundError,
    NotReadableError,
    UnsafeSettingsError,
)

PACKAGE_KEYS = Path(__file__).parent / "keys"
_CONTEXT = b"irmsia-bundle-v1\n"
_KEY_ID = re.compile(r"[A-Za-z0-9+/]{43}=")
_MAX_KEY_BYTES = 64 * 1024


class Signature(BaseModel):
    """Content of signature.json. Both values are base64: SHA-256 of the raw public key, and the 64 signature bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str
    signature: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Public keys by key id, and the bundle ids that are refused whoever signed them."""

    keys: Mapping[str, Ed25519PublicKey]
    revoked: frozenset[str] = frozenset()


def make_key() -> Ed25519PrivateKey:
    """A new private key, in memory only."""
    return Ed25519PrivateKey.generate()


def key_id(public: Ed25519PublicKey) -> str:
    """Base64 of the SHA-256 of the raw 32 bytes of the public key."""
    return base64.b64encode(hashlib.sha256(public.public_bytes_raw()).digest()).decode("ascii")


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """The public half of ``key`` as a ``*.pub`` file holds it."""
    return _public_bytes(key.public_key())


def sign(identity: str, key: Ed25519PrivateKey) -> Signature:
    """Signature over ASCII ``irmsia-bundle-v1``, a line feed and the bundle id."""
    raw = key.sign(_CONTEXT + identity.encode("ascii"))
    return Signature(key_id=key_id(key.public_key()), signature=base64.b64encode(raw).decode("ascii"))


def check(identity: str, signature: Signature, trust: Trust) -> None:
    """Nothing when a trusted key signed ``identity`` and it is not revoked.

    Raises:
        BundleRejectedError: an untrusted key, a wrong signature, a revoked id.
    """
    if identity in trust.revoked:
        raise BundleRejectedError(f"the bundle {identity[:12]} is revoked")
    public = trust.keys.get(signature.key_id)
    if public is None:
        shown = signature.key_id if _KEY_ID.fullmatch(signature.key_id) else "without a proper id"
        raise BundleRejectedError(
            f"signed by the key {shown}, which is not trusted here; "
            "if you know whose it is: `irmsia models trust KEYFILE`"
        )
    try:
        public.verify(base64.b64decode(signature.signature, validate=True), _CONTEXT + identity.encode("ascii"))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise BundleRejectedError("the signature does not fit the manifest") from error


def machine_key(home: Path) -> Ed25519PrivateKey:
    """The private key of this machine, made at the first call; its public half is trusted here from then on.

    Raises:
        UnsafeSettingsError: others may read the key file, or it holds no Ed25519 key.
        OSError: what the file system says.
    """
    private = home / "private"
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = private / "machine.pem"
    if not path.exists():
        durable.create_bytes(path, _private_pem(make_key()), mode=0o600)
    key = _read_private(path)
    (home / "keys").mkdir(parents=True, exist_ok=True)
    if not (home / "keys" / "machine.pub").exists():  # on a full disk what was sealed before can still be checked
        durable.create_bytes(home / "keys" / "machine.pub", public_pem(key), mode=0o644)
    return key


def trust_key(home: Path, path: Path) -> str:
    """Trust the Ed25519 public key in the PEM file ``path`` from now on; its key id. Twice is once.

    Raises:
        NotFoundError, NotReadableError: there is no such file, or it cannot be read.
        InvalidRequestError: it holds anything but one public key.
        OSError: what the file system says of ``home``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError("there is no such key file") from error
    except (OSError, ValueError) as error:
        raise NotReadableError("the key file cannot be read") from error
    if b" PRIVATE " in data:
        raise InvalidRequestError(
            "the file holds a private key, which nobody else should have; the public half is needed"
        )
    try:
        public = _public_key(data)
    except ValueError as error:
        raise InvalidRequestError("the file holds no Ed25519 public key (PEM)") from error
    (home / "keys").mkdir(parents=True, exist_ok=True)
    name = f"{hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]}.pub"
    durable.write_bytes(home / "keys" / name, _public_bytes(public))
    return key_id(public)


def read_trust(home: Path | None, *, package_keys: Path = PACKAGE_KEYS) -> Trust:
    """Keys of the package and of ``home/keys``, and the ids in ``home/revoked.txt`` (one a line, # for remarks).

    Raises:
        UnsafeSettingsError: a ``*.pub`` file that holds no Ed25519 public key, a revoked line that is no id, one of
            these that every user may write.
    """
    folders = [package_keys] if home is None else [package_keys, home / "keys"]
    publics = [_read_public(path) for folder in folders for path in sorted(folder.glob("*.pub"))]
    return Trust({key_id(public): public for public in publics}, _read_revoked(home))


def _read_revoked(home: Path | None) -> frozenset[str]:
    if home is None:
        return frozenset()
    try:
        text = _read_own(home / "revoked.txt").decode("ascii")
    except FileNotFoundError:
        return frozenset()
    except ValueError as error:
        raise UnsafeSettingsError("revoked.txt is not plain text") from error
    lines = [line.split("#", 1)[0].strip().lower() for line in text.splitlines()]
    identities = [line for line in lines if line]
    # A line that names nothing would silently revoke nothing.
    if not all(re.fullmatch(r"[0-9a-f]{64}", line) for line in identities):
        raise UnsafeSettingsError("revoked.txt holds a line that is no bundle id (64 hex digits)")
    return frozenset(identities)


def _read_public(path: Path) -> Ed25519PublicKey:
    try:
        return _public_key(_read_own(path))
    except ValueError as error:
        raise UnsafeSettingsError(f"the key file {path.name} holds no Ed25519 public key") from error


def _read_own(path: Path) -> bytes:
    """The bytes of a file that decides who is trusted: not if every user of this machine may change them."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IWOTH or path.parent.stat().st_mode & stat.S_IWOTH:
            raise UnsafeSettingsError(f"every user may write {path.name} or its folder; chmod o-w both")
        return file.read()


def _public_key(data: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(data)
    except UnsupportedAlgorithm as error:
        raise ValueError("unknown algorithm") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("another algorithm")
    return key


def _public_bytes(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_private(path: Path) -> Ed25519PrivateKey:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise UnsafeSettingsError("others may read this machine's private key; set its mode to 0600")
        data = file.read()
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnsafeSettingsError("this machine's key file holds no private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UnsafeSettingsError("this machine's key file holds no Ed25519 key")
    return key


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
