"""Who may vouch for a bundle."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from irmsia.bundles.signing import (
    PACKAGE_KEYS,
    Signature,
    Trust,
    check,
    key_id,
    machine_key,
    make_key,
    public_pem,
    read_trust,
    sign,
)
from irmsia.errors import BundleRejectedError, UnsafeSettingsError

ID = "ab" * 32


def test_a_trusted_signature_passes() -> None:
    """What a key signed, a holder of its public half accepts."""
    key = make_key()
    check(ID, sign(ID, key), Trust({key_id(key.public_key()): key.public_key()}))


def test_the_signed_text_is_the_contract_s() -> None:
    """Ed25519 over ASCII `irmsia-bundle-v1`, a line feed and the id: any other program can verify it."""
    key = make_key()
    key.public_key().verify(base64.b64decode(sign(ID, key).signature), b"irmsia-bundle-v1\n" + ID.encode())


def test_rejects_wrong_foreign_and_revoked() -> None:
    """Another id, a flipped bit, broken base64, an unknown key, a borrowed key id and a revoked id are all refused."""
    key, other = make_key(), make_key()
    trust = Trust({key_id(key.public_key()): key.public_key()})
    good = sign(ID, key)
    raw = bytearray(base64.b64decode(good.signature))
    raw[0] ^= 1
    borrowed = Signature(key_id=good.key_id, signature=sign(ID, other).signature)
    cases = [
        ("cd" * 32, good, trust, "does not fit"),
        (ID, good.model_copy(update={"signature": base64.b64encode(raw).decode()}), trust, "does not fit"),
        (ID, good.model_copy(update={"signature": "!!"}), trust, "does not fit"),
        (ID, sign(ID, other), trust, "not trusted"),
        (ID, borrowed, trust, "does not fit"),
        (ID, good, Trust(trust.keys, frozenset({ID})), "revoked"),
    ]
    for identity, signature, trusted, reason in cases:
        with pytest.raises(BundleRejectedError, match=reason):
            check(identity, signature, trusted)


def test_machine_key_is_made_once_and_private(tmp_path: Path) -> None:
    """Sixteen threads get one key; its file is 0600 in a 0700 folder, and its public half is trusted."""
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(machine_key, [tmp_path] * 16))
    assert len({key.private_bytes_raw() for key in keys}) == 1
    private = tmp_path / "private" / "machine.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    check(ID, sign(ID, keys[0]), read_trust(tmp_path))


def test_machine_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """A leaked key vouches for nothing: UNSAFE_SETTINGS until its mode is right."""
    machine_key(tmp_path)
    (tmp_path / "private" / "machine.pem").chmod(0o644)
    with pytest.raises(UnsafeSettingsError, match="0600"):
        machine_key(tmp_path)


def test_trust_joins_package_and_home(tmp_path: Path) -> None:
    """Keys of the package and of IRMSIA_HOME are trusted; a file that is no key stops everything, named."""
    mine, theirs = make_key(), make_key()
    for folder, key in (("package", mine), ("home/keys", theirs)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.pub").write_bytes(public_pem(key))
    trust = read_trust(tmp_path / "home", package_keys=tmp_path / "package")
    assert set(trust.keys) == {key_id(mine.public_key()), key_id(theirs.public_key())}
    (tmp_path / "home" / "keys" / "b.pub").write_text("no key")
    with pytest.raises(UnsafeSettingsError, match=r"b\.pub"):
        read_trust(tmp_path / "home", package_keys=tmp_path / "package")


def test_revoked_ids_are_read_and_never_guessed(tmp_path: Path) -> None:
    """One id a line, remarks allowed; a line that is no id is an error and not a silent nothing."""
    (tmp_path / "revoked.txt").write_text(f"# broken build\n{ID}  # why\n\n")
    assert read_trust(tmp_path).revoked == {ID}
    (tmp_path / "revoked.txt").write_text(ID[:-1])
    with pytest.raises(UnsafeSettingsError, match="revoked"):
        read_trust(tmp_path)


def test_no_private_key_in_the_package() -> None:
    """The repository holds public halves alone."""
    for path in PACKAGE_KEYS.parent.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert b"PRIVATE" + b" KEY" not in path.read_bytes(), path.name
