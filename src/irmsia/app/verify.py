"""Verify a model on this machine: the golden records of its bundle, real images found by their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from irmsia.app.compose import open_pool
from irmsia.app.inputs import Skipped, list_inputs
from irmsia.app.models import load_model
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError, InvalidRequestError
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.verify import Status, VerificationReport, verify_bundle
from irmsia.settings.tree import Settings


def verify_model(settings: Settings, name: str | None, *, data: Path | None, precision: str) -> VerificationReport:
    """Run the golden records of a bundle on this machine.

    Args:
        settings: the tree.
        name: as `load_model`.
        data: folder in which the real images are looked up by their digest; null: they are NOT CHECKED.
        precision: f32, bf16, int8 or auto.

    Raises:
        InvalidRequestError: ``data`` is no folder.
        ModelNotFoundError, BundleRejectedError: as `load_model`.
    """
    if data is not None and not os.path.isdir(data):  # noqa: PTH112 - Path.is_dir raises where a folder is closed
        raise InvalidRequestError("what --data names is no folder")
    bundle = load_model(settings, name)
    with open_pool(settings, 1) as pool:
        return verify_bundle(
            bundle,
            pool.prepare,
            resolve=find_by_digest(data, settings.limits.file_bytes),
            runtime=settings.engine.runtime,
            precision=Precision(precision),
        )


def prove_bundle(bundle: Bundle, data: Path, *, minimum: int) -> None:
    """The gate of a new bundle: every golden record, none left unchecked, through the decoder pool and OpenVINO at f32.

    Raises:
        BundleRejectedError: it answers otherwise here, or ``data`` does not hold the images of its records.
    """
    with closing(DecoderPool(1, ReadLimits())) as pool:
        resolve = find_by_digest(data, ReadLimits().file_bytes)
        report = verify_bundle(bundle, pool.prepare, resolve=resolve, minimum=minimum)
    if report.count(Status.NOT_CHECKED):
        raise BundleRejectedError(f"{report.count(Status.NOT_CHECKED)} golden images are not in the data folder")
    if not report.ok:
        failed = next((f"{result.name}: {result.reasons[0]}" for result in report.results if result.reasons), "")
        count = report.count(Status.FAIL)
        raise BundleRejectedError("; ".join(filter(None, (*report.problems, f"{count} records fail", failed))))


def find_by_digest(folder: Path | None, most_bytes: int) -> Callable[[str], bytes | None]:
    """A function from the SHA-256 of a whole file to its bytes; files that cannot be read are passed over.

    The folder is read once, at the first question.
    """
    index: dict[str, Path] | None = None

    def resolve(digest: str) -> bytes | None:
        nonlocal index
        if index is None:
            index = _index(folder, most_bytes) if folder is not None else {}
        path = index.get(digest)
        try:
            return path.read_bytes() if path is not None else None
        except OSError:  # gone or closed since
            return None

    return resolve


def _index(folder: Path, most_bytes: int) -> dict[str, Path]:
    files = [file.path for file in list_inputs([str(folder)], Skipped())]
    return {digest: path for path in files if (digest := _digest(path, most_bytes)) is not None}


def _digest(path: Path, most_bytes: int) -> str | None:
    """SHA-256 (hex) of a regular file that can be read and is not too large, else null."""
    try:
        if not path.is_file() or path.stat().st_size > most_bytes:
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
