"""The registry of trained models: the packaged starter, the bundles of this machine, and which one serves.

``IRMSIA_HOME/bundles/<id>/`` and ``IRMSIA_HOME/active.json`` (`irmsia.bundles.active`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia.bundles.active import Activation, go_back, read_active, set_active
from irmsia.bundles.canonical import canonical_bytes, parse_json
from irmsia.bundles.load import MANIFEST, SIGNATURE, Bundle, load_bundle, open_bundle
from irmsia.bundles.manifest import ManifestFields
from irmsia.bundles.pack import pack_bundle, remove_leftovers, write_folder
from irmsia.bundles.read import read_folder
from irmsia.bundles.signing import read_trust
from irmsia.errors import BundleRejectedError, IrmsiaError, ModelNotFoundError, NotFoundError
from irmsia.findings.naming import find_model

STARTER = Path(__file__).parent / "starter"

_ID = re.compile(r"[0-9a-f]{64}")
_START_OF_ID = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One folder of the registry. ``problem`` says why it cannot be loaded; then ``bundle`` is null."""

    path: Path
    packaged: bool
    active: bool
    bundle: Bundle | None
    problem: str | None

    @property
    def id(self) -> str:
        """Of the bundle; of one that cannot be loaded, the name of its folder."""
        return self.bundle.id if self.bundle is not None else self.path.name

    @property
    def name(self) -> str:
        """Of the bundle; of one that cannot be loaded, the start of its id."""
        return self.bundle.manifest.name if self.bundle is not None else self.path.name[:12]

    @property
    def version(self) -> str:
        """Of the bundle; empty for one that cannot be loaded."""
        return self.bundle.manifest.version if self.bundle is not None else ""


class BundleStore:
    """The bundles under one ``IRMSIA_HOME`` and the packaged starter. Loads check everything, every time."""

    def __init__(self, home: Path, *, starter: Path = STARTER) -> None:
        self.home = home
        self.starter = starter

    def list(self) -> tuple[BundleEntry, ...]:
        """The starter (if the package holds one), then the bundles of this machine by id; broken ones too.

        None is marked active where active.json cannot be read.
        """
        loaded = [(path, self._try_load(path)) for path in (*self._packaged(), *self._folders())]
        starter = next(
            (bundle.id for path, bundle in loaded if path == self.starter and isinstance(bundle, Bundle)), ""
        )
        active = self._listed_active(starter)
        return tuple(
            self._entry(path, bundle, active) for path, bundle in loaded if path == self.starter or path.name != starter
        )

    def activation(self) -> Activation:
        """What active.json says. Raises as `irmsia.bundles.active.read_active`."""
        return read_active(self.home)

    def active_id(self) -> str | None:
        """The id in active.json; null when the starter serves. Raises as `irmsia.bundles.active.read_active`."""
        return self.activation().identity

    def load(self, name: str | None = None) -> Bundle:
        """The active bundle, or the one that ``name`` means (`irmsia.findings.naming`).

        Raises:
            ModelNotFoundError: there is none, or several are meant.
            BundleRejectedError: it is there but not whole, not trusted or malformed; the active one is not there.
        """
        return self._load(self._active_path() if name is None else self._find(name))

    def read(self, name: str | None = None) -> tuple[Bundle, dict[str, bytes]]:
        """`load`, and every file of the bundle, manifest and signature in their canonical form. Raises as `load`."""
        path = self._active_path() if name is None else self._find(name)
        files = read_folder(path)
        bundle = self._checked(path, open_bundle(files, read_trust(self.home)))
        return bundle, files | {part: canonical_bytes(parse_json(files[part])) for part in (MANIFEST, SIGNATURE)}

    def add(self, fields: ManifestFields, files: Mapping[str, bytes], key: Ed25519PrivateKey) -> str:
        """Seal a bundle into the registry; its id. Adding the same bundle again changes nothing."""
        identity, content = pack_bundle(fields, files, key)
        self.put(identity, content)
        return identity

    def put(self, identity: str, files: Mapping[str, bytes]) -> bool:
        """Write the bundle of this id, whose ``files`` the caller has checked; True when it was not there whole before.

        Raises:
            OSError: what the file system says; then nothing of it is visible.
        """
        folder = self._folder(identity)
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent)
        if self.holds(identity):
            return False
        try:
            write_folder(folder, files, replace=folder.is_dir())
        except OSError:
            if not self.holds(identity):  # unless another process was first
                raise
            return False
        return True

    def holds(self, identity: str) -> bool:
        """Whether the bundle of this id is here and whole: installed, or packaged."""
        return any(
            isinstance(found := self._try_load(path), Bundle) and found.id == identity
            for path in (self._folder(identity), *self._packaged())
        )

    def activate(self, name: str) -> Bundle:
        """Let the bundle that ``name`` means serve from now on. The caller verifies its golden records first.

        Raises:
            ModelNotFoundError, BundleRejectedError: it cannot be loaded; the old one stays.
        """
        bundle = self.load(name)
        # A starter that was not installed is named by null: the next version of the package may hold another.
        set_active(self.home, bundle.id if self._folder(bundle.id).is_dir() else None)
        return bundle

    def deactivate(self) -> None:
        """Let the packaged starter serve again."""
        set_active(self.home, None)

    def load_previous(self) -> Bundle:
        """The bundle that was active before.

        Raises:
            BundleRejectedError: there was none, or it cannot be loaded any more.
        """
        return self._load(self._path_of(self.activation().back().identity))

    def rollback(self, bundle: Bundle) -> None:
        """Let ``bundle``, which `load_previous` gave and the caller has verified, serve again.

        Raises:
            BundleRejectedError: another model was activated meanwhile.
        """
        identity = self.activation().back().identity
        if self._load(self._path_of(identity)).id != bundle.id:
            raise BundleRejectedError("another model was activated meanwhile; look again and repeat")
        go_back(self.home, identity)

    def _listed_active(self, starter: str) -> str | None:
        try:
            return self.active_id() or starter
        except IrmsiaError:
            return None

    def _active_path(self) -> Path:
        return self._path_of(self.active_id())

    def _path_of(self, identity: str | None) -> Path:
        if identity is None:
            if not self._packaged():
                raise ModelNotFoundError("there is no active model, and the package holds no starter")
            return self.starter
        try:
            return self._path_of_id(identity)
        except ModelNotFoundError:
            raise BundleRejectedError(f"active.json names {identity[:12]}, which is not on this machine") from None

    def _path_of_id(self, identity: str) -> Path:
        if self._folder(identity).is_dir():
            return self._folder(identity)
        for path in self._packaged():
            found = self._try_load(path)
            if isinstance(found, Bundle) and found.id == identity:
                return path
        raise ModelNotFoundError(f"there is no model {identity[:12]!r}")

    def _find(self, name: str) -> Path:
        if _ID.fullmatch(name):
            return self._path_of_id(name)
        entries = self.list()
        broken = [entry for entry in entries if entry.bundle is None and entry.id.startswith(name)]
        if _START_OF_ID.fullmatch(name) and len(broken) == 1:
            return broken[0].path
        return find_model(name, [entry for entry in entries if entry.bundle is not None]).path

    def _load(self, path: Path) -> Bundle:
        try:
            return self._checked(path, load_bundle(path, read_trust(self.home)))
        except NotFoundError as error:
            raise ModelNotFoundError("the model was removed meanwhile") from error

    def _checked(self, path: Path, bundle: Bundle) -> Bundle:
        if path != self.starter and bundle.id != path.name:
            raise BundleRejectedError("the bundle lies in the folder of another id")
        return bundle

    def _try_load(self, path: Path) -> Bundle | IrmsiaError:
        try:
            return self._load(path)
        except IrmsiaError as error:
            return error

    def _packaged(self) -> tuple[Path, ...]:
        return (self.starter,) if self.starter.is_dir() else ()

    def _folder(self, identity: str) -> Path:
        return self.home / "bundles" / identity

    def _folders(self) -> tuple[Path, ...]:
        folder = self.home / "bundles"
        return tuple(sorted(path for path in folder.glob("*") if _ID.fullmatch(path.name)))

    def _entry(self, path: Path, loaded: Bundle | IrmsiaError, active: str | None) -> BundleEntry:
        bundle, problem = (loaded, None) if isinstance(loaded, Bundle) else (None, loaded.message)
        packaged = path == self.starter
        identity = bundle.id if bundle is not None else path.name
        serves = active == identity or (packaged and active == "")
        return BundleEntry(path, packaged, serves, bundle, problem)
