"""The registry of one machine: what there is, and which one serves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from irmsia.bundles.pack import write_bundle
from irmsia.bundles.signing import machine_key
from irmsia.bundles.store import BundleStore
from irmsia.errors import BundleRejectedError, ModelNotFoundError
from tests.bundles.tiny import make_fields, make_files


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """Return a registry with a starter signed by this machine."""
    home = tmp_path / "home"
    home.mkdir()
    write_bundle(tmp_path / "starter", make_fields(name="starter-tiny"), make_files(), key=machine_key(home))
    return BundleStore(home, starter=tmp_path / "starter")


def test_without_active_json_the_starter_serves(store: BundleStore) -> None:
    """A fresh home answers with the packaged bundle."""
    assert store.active_id() is None
    assert store.load().manifest.name == "starter-tiny"
    assert [(entry.name, entry.packaged, entry.active) for entry in store.list()] == [("starter-tiny", True, True)]


def test_without_a_starter_there_is_no_model(tmp_path: Path) -> None:
    """MODEL_NOT_FOUND, not a crash; the list is empty."""
    empty = BundleStore(tmp_path, starter=tmp_path / "none")
    assert empty.list() == ()
    with pytest.raises(ModelNotFoundError):
        empty.load()


def test_add_activate_deactivate(store: BundleStore) -> None:
    """An added bundle serves once activated; deactivating brings the starter back. Adding twice is once."""
    key = machine_key(store.home)
    identity = store.add(make_fields(version="2.0"), make_files(), key)
    assert store.add(make_fields(version="2.0"), make_files(), key) == identity
    assert store.load().manifest.name == "starter-tiny"
    store.activate(identity)
    assert store.active_id() == identity == store.load().id
    assert [entry.active for entry in store.list()] == [False, True]
    store.deactivate()
    store.deactivate()
    assert store.load().manifest.name == "starter-tiny"


def test_an_active_bundle_that_is_gone_is_said(store: BundleStore) -> None:
    """No other model answers in its place, and the message says what names it."""
    identity = store.add(make_fields(), make_files(), machine_key(store.home))
    store.activate(identity)
    shutil.rmtree(store.home / "bundles" / identity)
    with pytest.raises(BundleRejectedError, match=r"active\.json"):
        store.load()


def test_activating_the_starter_by_its_id(store: BundleStore) -> None:
    """The starter is named by its id as well, and needs no active.json."""
    starter = store.load().id
    store.activate(store.add(make_fields(), make_files(), machine_key(store.home)))
    store.activate(starter)
    assert store.active_id() is None


def test_names(store: BundleStore) -> None:
    """By id, by the start of an id, by name; unknown and ambiguous names are MODEL_NOT_FOUND."""
    key = machine_key(store.home)
    first = store.add(make_fields(version="1"), make_files(), key)
    assert {store.load(name).id for name in (first, first[:8], "tiny")} == {first}
    store.add(make_fields(version="2"), make_files(), key)
    for name in ("tiny", "nothing", "../starter", "f" * 64, ""):
        with pytest.raises(ModelNotFoundError):
            store.load(name)


def test_broken_bundles_are_listed_with_their_problem(store: BundleStore) -> None:
    """A broken one says why; it cannot be loaded or activated and hides no other."""
    identity = store.add(make_fields(), make_files(), machine_key(store.home))
    (store.home / "bundles" / identity / "golden.jsonl").write_bytes(b"x")
    entry = store.list()[1]
    assert entry.bundle is None
    assert "golden.jsonl" in (entry.problem or "")
    with pytest.raises(BundleRejectedError):
        store.activate(identity)
    assert store.active_id() is None


def test_a_bundle_in_the_folder_of_another_id_is_rejected(store: BundleStore) -> None:
    """A swapped folder does not answer under a foreign id."""
    key = machine_key(store.home)
    first, second = (store.add(make_fields(version=version), make_files(), key) for version in ("1", "2"))
    folder = store.home / "bundles"
    shutil.rmtree(folder / first)
    shutil.copytree(folder / second, folder / first)
    with pytest.raises(BundleRejectedError, match="another id"):
        store.load(first)


@pytest.mark.parametrize("text", ["", "{}", '{"id": 1}', '{"id": "../../x"}', '{"id": "' + "g" * 64 + '"}'])
def test_a_broken_active_json_is_rejected(store: BundleStore, text: str) -> None:
    """No guess at what was meant: BUNDLE_REJECTED."""
    (store.home / "active.json").write_text(text)
    with pytest.raises(BundleRejectedError, match=r"active\.json|JSON"):
        store.load()


def test_a_revoked_bundle_does_not_load(store: BundleStore) -> None:
    """Revoking works at the next load, whoever signed it."""
    identity = store.add(make_fields(), make_files(), machine_key(store.home))
    store.load(identity)
    (store.home / "revoked.txt").write_text(identity)
    with pytest.raises(BundleRejectedError, match="revoked"):
        store.load(identity)
