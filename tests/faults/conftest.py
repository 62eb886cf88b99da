"""A home with the tiny model of the tests, and servers with settings of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from irmsia.bundles.store import BundleStore
from tests.e2e.conftest import Platform
from tests.e2e.gates import make_home, note_proof


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home for one module: its tests spoil it."""
    return make_home(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def platform_of(home: Path) -> Iterator[Callable[..., Platform]]:
    """Make platforms with the settings given; what they started ends with the test."""
    made = []
    identity = BundleStore(home).active_id()
    assert identity is not None
    note_proof(home, identity)  # a test before may have verified it, which takes the proof away

    def make(**environment: str) -> Platform:
        made.append(Platform(home, **environment))
        return made[-1]

    yield make
    for platform in made:
        platform.close()
