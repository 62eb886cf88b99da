"""A packed tiny bundle and the key that vouches for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia.bundles.pack import write_bundle
from irmsia.bundles.signing import Trust, key_id, make_key
from tests.bundles.tiny import make_fields, make_files


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    """Return a key that lives as long as the test run."""
    return make_key()


@pytest.fixture(scope="session")
def trust(key: Ed25519PrivateKey) -> Trust:
    """Return trust in that key alone."""
    return Trust({key_id(key.public_key()): key.public_key()})


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory, key: Ed25519PrivateKey) -> Path:
    """Return a bundle that no test touches: writing one syncs every file, copying it does not."""
    folder = tmp_path_factory.mktemp("written") / "bundle"
    write_bundle(folder, make_fields(), make_files(), key=key)
    return folder


@pytest.fixture
def folder(tmp_path: Path, _written: Path) -> Path:
    """Return the folder of a whole bundle that the test may break."""
    return shutil.copytree(_written, tmp_path / "bundle")
