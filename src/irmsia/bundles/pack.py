"""Writing a bundle: whole or not at all, and never one that `load_bundle` would reject."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia import durable
from irmsia.bundles.canonical import bundle_id, canonical_bytes
from irmsia.bundles.card import make_card, make_metadata
from irmsia.bundles.load import CARD, MANIFEST, METADATA, SIGNATURE, check_content
from irmsia.bundles.manifest import FileEntry, Manifest, ManifestFields
from irmsia.bundles.signing import sign
from irmsia.errors import BundleRejectedError

_GENERATED = (CARD, METADATA, MANIFEST, SIGNATURE)


def write_bundle(
    directory: Path,
    fields: ManifestFields,
    files: Mapping[str, bytes],
    *,
    key: Ed25519PrivateKey,
    replace: bool = False,
) -> str:
    """Seal ``files`` (POSIX name -> content) into the folder ``directory``; returns the bundle id.

    The model card and the MONAI metadata are generated. ``replace`` puts the new bundle in the place of an old one.

    Raises:
        BundleRejectedError: what would be written could not be loaded, or names a generated file.
        FileExistsError: ``directory`` exists and is not to be replaced.
        OSError: what the file system says; then nothing is left behind.
    """
    identity, content = pack_bundle(fields, files, key)
    write_folder(directory, content, replace=replace)
    return identity


def pack_bundle(
    fields: ManifestFields, files: Mapping[str, bytes], key: Ed25519PrivateKey
) -> tuple[str, dict[str, bytes]]:
    """The bundle id and every file of the bundle, in memory. Raises `BundleRejectedError` as `write_bundle` does."""
    if taken := [name for name in _GENERATED if name in files]:
        raise BundleRejectedError(f"{taken[0]!r} is generated and must not be given")
    content = {**files, CARD: make_card(fields).encode("utf-8"), METADATA: _json(make_metadata(fields))}
    check_content(fields, content)
    manifest = _canonical_manifest(fields, content)
    identity = bundle_id(manifest)
    signature = _json(sign(identity, key).model_dump())
    return identity, {**content, MANIFEST: manifest, SIGNATURE: signature}


def write_folder(directory: Path, files: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Write ``files`` beside ``directory`` first, synced, then rename: a reader sees all of them or none.

    With ``replace`` a reader sees the old ones or the new ones, and at no moment neither.

    Raises:
        FileExistsError: ``directory`` exists and is not to be replaced.
        OSError: what the file system says; then nothing is left behind.
    """
    if directory.exists() and not replace:
        raise FileExistsError(f"{directory.name} exists already")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(directory)
    try:
        for name, data in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write_bytes(path, data)
        for folder in sorted({temporary, *((temporary / name).parent for name in files)}):
            durable.sync_directory(folder)
        _put(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    durable.sync_directory(directory.parent)


def remove_leftovers(parent: Path) -> None:
    """Drop the temporary folders that a killed writer left in ``parent``; those of a living process stay."""
    for path in parent.glob(".*.tmp"):
        owner = path.name.rsplit(".", 3)[1]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _put(temporary: Path, directory: Path) -> None:
    if not directory.exists():
        temporary.rename(directory)
        return
    # A folder that holds something cannot be renamed over; the two swap names instead, so that one is always there.
    durable.exchange(temporary, directory)
    shutil.rmtree(temporary)


def _temporary(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")


def _lives(process: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _canonical_manifest(fields: ManifestFields, files: Mapping[str, bytes]) -> bytes:
    entries = {name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in files.items()}
    stated = {name: getattr(fields, name) for name in ManifestFields.model_fields}
    return canonical_bytes(Manifest(**stated, files=entries).model_dump(mode="json"))


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
