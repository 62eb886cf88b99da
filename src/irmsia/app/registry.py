"""Bring models to this machine, let one serve, go back: each proven before anything changes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from irmsia import durable
from irmsia.app.compose import open_pool
from irmsia.app.prove import prove
from irmsia.bundles.archive import SUFFIX, read_archive, write_archive
from irmsia.bundles.load import Bundle, open_bundle
from irmsia.bundles.read import read_folder
from irmsia.bundles.signing import read_trust, trust_key
from irmsia.bundles.store import BundleStore
from irmsia.errors import InvalidRequestError, IrmsiaError
from irmsia.inference.verify import VerificationReport
from irmsia.settings.tree import Settings

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Proven:
    """A model whose golden records were run here.

    ``reports``: as `irmsia.app.prove.prove`. ``changed``: it was installed or activated by this call.
    """

    bundle: Bundle
    reports: tuple[VerificationReport, ...]
    changed: bool

    @property
    def ok(self) -> bool:
        """Whether it may serve; where not, nothing changed."""
        return self.reports[0].ok


def install_model(
    settings: Settings, source: Path, *, data: Path | None = None, advance: Advance = lambda: None
) -> Proven:
    """Copy the bundle in the archive or folder ``source`` into the registry: checked and proven first, whole or not.

    Args:
        settings: the tree.
        source: ``*.irmsia.zip`` or an unpacked folder; it is read once.
        data: folder in which real images of the golden records are looked up.
        advance: called once a golden record.

    Raises:
        NotFoundError: there is nothing at ``source``.
        BundleRejectedError: anything about it is not as it must be.
        InvalidRequestError: ``IRMSIA_HOME`` cannot be written.
    """
    files = read_folder(source, hard_links=False) if os.path.isdir(source) else read_archive(source)  # noqa: PTH112 - as in app.verify
    bundle = open_bundle(files, read_trust(settings.home))
    reports = _prove(settings, bundle, data, advance)
    if not reports[0].ok:
        return Proven(bundle, reports, changed=False)
    try:
        changed = BundleStore(settings.home).put(bundle.id, files)
    except OSError as error:
        raise InvalidRequestError(f"the model cannot be written: {error.strerror}") from None
    return Proven(bundle, reports, changed)


def activate_model(
    settings: Settings, name: str, *, data: Path | None = None, older: bool = False, advance: Advance = lambda: None
) -> Proven:
    """Let the model that ``name`` means serve; running servers take it over by themselves.

    Args:
        settings: the tree.
        name: as `irmsia.findings.naming.find_model`.
        data: folder in which real images of the golden records are looked up.
        older: whether a lower version may follow a higher one of the same name.
        advance: called once a golden record.

    Raises:
        ModelNotFoundError: there is none of that name.
        BundleRejectedError: it is not whole or not trusted; the old one stays.
        InvalidRequestError: its version is lower than the active one's; ``IRMSIA_HOME`` cannot be written.
    """
    store = BundleStore(settings.home)
    bundle, active = store.load(name), _active(store)
    if active is not None and not older:
        _require_not_older(bundle, active)
    reports = _prove(settings, bundle, data, advance)
    if not reports[0].ok:
        return Proven(bundle, reports, changed=False)
    try:
        store.activate(bundle.id)
    except OSError as error:
        raise InvalidRequestError(f"active.json cannot be written: {error.strerror}") from None
    return Proven(bundle, reports, active is None or active.id != bundle.id)


def rollback_model(settings: Settings, *, data: Path | None = None, advance: Advance = lambda: None) -> Proven:
    """Let the model that served before serve again.

    Raises:
        BundleRejectedError: none served before; it is gone or not trusted any more.
        InvalidRequestError: ``IRMSIA_HOME`` cannot be written.
    """
    store = BundleStore(settings.home)
    bundle = store.load_previous()
    reports = _prove(settings, bundle, data, advance)
    if not reports[0].ok:
        return Proven(bundle, reports, changed=False)
    try:
        store.rollback(bundle)
    except OSError as error:
        raise InvalidRequestError(f"active.json cannot be written: {error.strerror}") from None
    return Proven(bundle, reports, changed=True)


def export_model(settings: Settings, name: str, path: Path) -> Bundle:
    """Write the model that ``name`` means as one archive: the same bundle gives the same bytes everywhere.

    Raises:
        ModelNotFoundError, BundleRejectedError: as `irmsia.bundles.store.BundleStore.load`.
        InvalidRequestError: ``path`` does not end in ``.irmsia.zip``, exists already or cannot be written.
    """
    if not path.name.endswith(SUFFIX):
        raise InvalidRequestError(f"the file's name must end in {SUFFIX}")
    bundle, files = BundleStore(settings.home).read(name)
    try:
        created = durable.create_bytes(path, write_archive(files), mode=0o644)
    except OSError as error:
        raise InvalidRequestError(f"the archive cannot be written: {error.strerror}") from None
    if not created:
        raise InvalidRequestError("the file exists already")
    return bundle


def trust_key_file(settings: Settings, path: Path) -> str:
    """Trust the public key in the PEM file ``path``; its key id.

    Raises:
        NotFoundError, NotReadableError: there is no such file, or it cannot be read.
        InvalidRequestError: it holds no such key, or ``IRMSIA_HOME`` cannot be written.
    """
    try:
        return trust_key(settings.home, path)
    except OSError as error:
        raise InvalidRequestError(f"the key cannot be kept: {error.strerror}") from None


def _prove(settings: Settings, bundle: Bundle, data: Path | None, advance: Advance) -> tuple[VerificationReport, ...]:
    with open_pool(settings, 1) as pool:
        return prove(settings, bundle, pool.prepare, data=data, advance=advance)


def _active(store: BundleStore) -> Bundle | None:
    """The active bundle; null where it is broken, which another one shall then follow whatever its version."""
    try:
        return store.load()
    except IrmsiaError:
        return None


def _require_not_older(bundle: Bundle, active: Bundle) -> None:
    new, old = bundle.manifest, active.manifest
    if new.name == old.name and _order(new.version) < _order(old.version):
        raise InvalidRequestError(
            f"{new.name} {new.version} is older than the active {old.version}; "
            "`irmsia models rollback` goes back, --older takes it all the same"
        )


def _order(version: str) -> list[tuple[int, str]]:
    """Numbers by value, and above words: 1.10 is newer than 1.9, 1.0 newer than 1.0-beta."""
    parts = re.findall(r"[0-9]+|[A-Za-z]+", version)
    return [(int(part) + 1, "") if part.isdecimal() else (-1, part) for part in parts] + [(0, "")]
