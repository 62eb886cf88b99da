"""Pseudonyms: the same on one machine, unlinkable without its key, and the key well kept."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest

from irmsia.errors import UnsafeSettingsError
from irmsia.imaging.pseudonym import KEY_FILE, load_or_create_key, pseudonym

KEY, OTHER = bytes(range(32)), bytes(32)


def test_pseudonym_is_a_keyed_hash_with_a_readable_prefix() -> None:
    """HMAC-SHA-256 of kind, zero, value; stable for ever, as answers are compared by it."""
    expected = hmac.new(KEY, b"patient\0" + "Müller".encode(), hashlib.sha256).hexdigest()[:32]
    assert pseudonym(KEY, "patient", "Müller") == f"patient-{expected}"


def test_pseudonyms_differ_by_key_kind_and_value() -> None:
    """No two of them are equal, and none holds the value."""
    made = {
        pseudonym(key, kind, value) for key in (KEY, OTHER) for kind in ("patient", "study") for value in ("4711", "42")
    }
    assert len(made) == 8
    assert not any("4711" in name for name in made)


def test_short_keys_are_refused() -> None:
    """A key that could be guessed makes no pseudonyms."""
    with pytest.raises(ValueError, match="32"):
        pseudonym(b"short", "patient", "x")


def test_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """32 random bytes, mode 0600, in a folder that is made; the next call gives the same."""
    home = tmp_path / "a" / "home"
    key = load_or_create_key(home)
    assert load_or_create_key(home) == key and len(key) == 32
    assert (home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == [KEY_FILE]
    assert load_or_create_key(tmp_path / "b") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The platform does not start with a key that has leaked."""
    load_or_create_key(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(UnsafeSettingsError, match="0600"):
        load_or_create_key(tmp_path)


def test_broken_keys_are_refused(tmp_path: Path) -> None:
    """Cut short, a link, a folder: never silently replaced, as all pseudonyms would change."""
    path = tmp_path / KEY_FILE
    path.write_bytes(b"cut")
    path.chmod(0o600)
    with pytest.raises(UnsafeSettingsError, match="32 bytes"):
        load_or_create_key(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeSettingsError):
        load_or_create_key(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnsafeSettingsError):
        load_or_create_key(tmp_path)


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    """Whoever loses the race reads the winner's key."""
    code = (
        "import sys; from pathlib import Path; from irmsia.imaging.pseudonym import load_or_create_key;"
        "sys.stdin.read(); print(load_or_create_key(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", code, os.fspath(tmp_path)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.stdin = None
    printed = {child.communicate(timeout=60)[0].strip() for child in children}
    assert printed == {load_or_create_key(tmp_path).hex()}
