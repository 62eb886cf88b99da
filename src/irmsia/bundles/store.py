"""The registry of trained models: the packaged starter, the bundles of this machine, and which one serves.

``IRMSIA_HOME/bundles/<id>/`` and ``IRMSIA_HOME/active.json``. Without the latter the starter serves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia import durable
from irmsia.bundles.canonical import canonical_bytes, parse_json
from irmsia.bundles.load import Bundle, load_bundle, open_bundle
from irmsia.bundles.manifest import ManifestFields
from irmsia.bundles.pack import pack_bundle, remove_leftovers, write_folder
from irmsia.bundles.read import read_folder
from irmsia.bundles.signing import read_trust
from irmsia.errors import BundleRejectedError, IrmsiaError, ModelNotFoundError, NotFoundError

STARTER = Path(__file__).parent / "starter"

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One folder of the registry. ``problem`` says why it cannot be loaded; then ``bundle`` is null."""

    name: str
    path: Path
    packaged: bool
    active: bool
    bundle: Bundle | None
    problem: str | None


class BundleStore:
    """The bundles under one ``IRMSIA_HOME`` and the packaged starter. Loads check everything, every time."""

    def __init__(self, home: Path, *, starter: Path = STARTER) -> None:
        self.home = home
        self.starter = starter

    def list(self) -> tuple[BundleEntry, ...]:
        """The starter (if the package holds one), then the bundles of this machine by id; broken ones too."""
        starter = self._try_load(self.starter) if self.starter.is_dir() else None
        own = [(path.name, self._try_load(path)) for path in self._folders()]
        active = self.active_id()
        entries = [] if starter is None else [self._entry("starter", self.starter, starter, active)]
        return (*entries, *(self._entry(name, self._folder(name), loaded, active) for name, loaded in own))

    def active_id(self) -> str | None:
        """The id in active.json; null when there is none and the starter serves.

        Raises:
            BundleRejectedError: active.json is malformed.
        """
        try:
            value = parse_json((self.home / "active.json").read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BundleRejectedError("active.json cannot be read") from error
        identity = value.get("id") if isinstance(value, dict) else None
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            raise BundleRejectedError("active.json names no bundle id")
        return identity

    def load(self, name: str | None = None) -> Bundle:
        """The active bundle, or the one of that id, unambiguous start of an id (8 or more digits) or name.

        Raises:
            ModelNotFoundError: there is none.
            BundleRejectedError: it is there but not whole, not trusted or malformed.
        """
        if name is None:
            return self._load_active()
        path = self.starter if name == "starter" else self._find(name)
        try:
            bundle = load_bundle(path, read_trust(self.home))
        except NotFoundError as error:
            raise ModelNotFoundError(f"there is no model {name[:64]!r}") from error
        if path != self.starter and bundle.id != path.name:
            raise BundleRejectedError("the bundle lies in the folder of another id")
        return bundle

    def _load_active(self) -> Bundle:
        identity = self.active_id()
        try:
            return self.load(identity or "starter")
        except ModelNotFoundError:
            if identity is None:
                raise
            raise ModelNotFoundError(f"active.json names {identity[:12]}, which is not on this machine") from None

    def add(self, fields: ManifestFields, files: Mapping[str, bytes], key: Ed25519PrivateKey) -> str:
        """Seal a bundle into the registry; its id. Adding the same bundle again changes nothing."""
        identity, content = pack_bundle(fields, files, key)
        self._write(identity, content)
        return identity

    def install(self, source: Path) -> str:
        """Copy the bundle in the folder ``source`` into the registry after checking it whole; its id.

        Raises:
            BundleRejectedError, NotFoundError: as `load_bundle`.
        """
        files = read_folder(source)
        bundle = open_bundle(files, read_trust(self.home))
        self._write(bundle.id, files)
        return bundle.id

    def activate(self, identity: str) -> None:
        """Let the bundle of this id serve from now on. The caller verifies its golden records first.

        Raises:
            ModelNotFoundError, BundleRejectedError: it cannot be loaded; the old one stays.
        """
        bundle = self.load(identity)
        if identity == "starter" or bundle.id not in {path.name for path in self._folders()}:
            self.deactivate()
        else:
            durable.write_bytes(self.home / "active.json", canonical_bytes({"id": bundle.id}) + b"\n")

    def deactivate(self) -> None:
        """Let the packaged starter serve again."""
        (self.home / "active.json").unlink(missing_ok=True)

    def _write(self, identity: str, content: Mapping[str, bytes]) -> None:
        folder = self._folder(identity)
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent)
        if not folder.exists():
            write_folder(folder, content)

    def _folder(self, identity: str) -> Path:
        return self.home / "bundles" / identity

    def _folders(self) -> tuple[Path, ...]:
        folder = self.home / "bundles"
        return tuple(sorted(path for path in folder.glob("*") if _ID.fullmatch(path.name)))

    def _find(self, name: str) -> Path:
        if _ID.fullmatch(name):
            return self._folder(name) if self._folder(name).is_dir() else self._starter_of_id(name)
        matches = [entry.path for entry in self.list() if entry.bundle and _is_called(entry.bundle, name)]
        if len(matches) != 1:
            raise ModelNotFoundError(f"{'several models are' if matches else 'there is no model'} named {name[:64]!r}")
        return matches[0]

    def _starter_of_id(self, identity: str) -> Path:
        loaded = self._try_load(self.starter) if self.starter.is_dir() else None
        if isinstance(loaded, Bundle) and loaded.id == identity:
            return self.starter
        raise ModelNotFoundError(f"there is no model {identity[:12]!r}")

    def _try_load(self, path: Path) -> Bundle | IrmsiaError:
        try:
            return load_bundle(path, read_trust(self.home))
        except IrmsiaError as error:
            return error

    def _entry(self, name: str, path: Path, loaded: Bundle | IrmsiaError, active: str | None) -> BundleEntry:
        bundle, problem = (loaded, None) if isinstance(loaded, Bundle) else (None, loaded.message)
        if bundle is not None:
            name = bundle.manifest.name
        packaged = path == self.starter
        serves = active is None if packaged else active == path.name
        return BundleEntry(name, path, packaged, serves, bundle, problem)


def _is_called(bundle: Bundle, name: str) -> bool:
    return bundle.manifest.name == name or (len(name) >= 8 and bundle.id.startswith(name))
