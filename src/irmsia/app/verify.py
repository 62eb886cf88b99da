"""Verify a model on this machine: the golden records of its bundle, real images found by their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from irmsia.app.compose import open_pool
from irmsia.app.inputs import Skipped, list_inputs
from irmsia.app.models import load_model
from irmsia.app.ready import gate_records
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError, InvalidRequestError
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.model import make_model
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import installed_runtimes, make_runtime, resolve_runtime
from irmsia.inference.verify import Prepare, Status, VerificationReport, verify_models
from irmsia.settings.tree import Settings

ALL = "all"


def verify_model(
    settings: Settings,
    name: str | None,
    *,
    data: Path | None = None,
    runtime: str = ALL,
    precision: str = ALL,
    advance: Callable[[], None] = lambda: None,
) -> tuple[VerificationReport, ...]:
    """Run the golden records of a bundle on this machine, a report a runtime and precision, and keep what passed.

    Args:
        settings: the tree.
        name: as `load_model`.
        data: folder in which the real images are looked up by their digest; null: they are NOT CHECKED.
        runtime: a name, ``auto`` (the preferred one) or ``all`` that are installed.
        precision: f32, bf16, int8, or ``all`` that the runtime and the bundle have here.
        advance: called once an image that is read.

    Raises:
        InvalidRequestError: ``data`` is no folder, there is no such runtime, none computes in ``precision`` here, or
            ``IRMSIA_HOME`` cannot be written.
        ModelNotFoundError, BundleRejectedError: as `load_model`.
    """
    if data is not None and not os.path.isdir(data):  # noqa: PTH112 - Path.is_dir raises where a folder is closed
        raise InvalidRequestError("what --data names is no folder")
    bundle = load_model(settings, name)
    targets = list_targets(bundle, runtime, precision)
    with open_pool(settings, 1) as pool:

        def prepare(source: bytes, spec: PreprocessSpec) -> PreparedInput:
            advance()
            return pool.prepare(source, spec)

        return run_gate(settings, bundle, prepare, targets=targets, data=data)


def run_gate(
    settings: Settings,
    bundle: Bundle,
    prepare: Prepare,
    *,
    targets: Sequence[Target] | None = None,
    data: Path | None = None,
) -> tuple[VerificationReport, ...]:
    """The golden gate of ``bundle`` on this machine; what passed is kept, what failed is forgotten.

    Args:
        settings: the tree.
        bundle: a checked bundle.
        prepare: reads and preprocesses one file, as the decoder pool does.
        targets: what to prove; null: what the settings may serve, f32 first, which alone decides whether it may.
        data: folder in which real images are looked up; null: they are NOT CHECKED.

    Raises:
        BundleRejectedError: a runtime does not take the network.
        InvalidRequestError: ``IRMSIA_HOME`` cannot be written.
    """
    resolve = find_by_digest(data, settings.limits.file_bytes)
    chosen = served_targets(settings, bundle) if targets is None else targets
    models = [make_model(bundle, runtime=target.runtime, precision=target.precision) for target in chosen]
    reports = verify_models(models, prepare, resolve=resolve)
    records = gate_records(settings)
    try:
        for report in reports:
            records.write(report)
    except OSError as error:
        raise InvalidRequestError(f"what was proven cannot be kept in IRMSIA_HOME: {error.strerror}") from None
    return reports


@dataclass(frozen=True, slots=True)
class Target:
    """What a bundle is proven on."""

    runtime: str
    precision: Precision


def served_targets(settings: Settings, bundle: Bundle) -> list[Target]:
    """What the settings may serve: f32 on the chosen runtime, then bf16 unless the settings say f32."""
    targets = list_targets(bundle, settings.engine.runtime, ALL)
    wanted = {Precision.F32} if settings.engine.precision == "f32" else {Precision.F32, Precision.BF16}
    return [target for target in targets if target.precision in wanted]


def list_targets(bundle: Bundle, runtime: str, precision: str) -> list[Target]:
    """Every runtime that is meant with every precision that is meant, as far as they are at hand.

    Raises:
        InvalidRequestError: there is no such runtime, or none computes in ``precision`` here.
    """
    names = installed_runtimes() if runtime == ALL else (resolve_runtime(runtime),)
    able = [Target(name, number) for name in names for number in make_runtime(name).precisions]
    targets = [target for target in able if precision in (ALL, target.precision)]
    if precision == ALL and bundle.int8_model() is None:
        targets = [target for target in targets if target.precision is not Precision.INT8]
    if not targets:
        raise InvalidRequestError(f"{runtime} does not compute in {precision[:16]} on this machine")
    return targets


def prove_bundle(bundle: Bundle, data: Path, *, minimum: int) -> None:
    """The gate of a new bundle: every golden record, none left unchecked, on every installed runtime at f32.

    Raises:
        BundleRejectedError: it answers otherwise here, or ``data`` does not hold the images of its records.
    """
    models = [make_model(bundle, runtime=name) for name in installed_runtimes()]
    with closing(DecoderPool(1, ReadLimits())) as pool:
        resolve = find_by_digest(data, ReadLimits().file_bytes)
        reports = verify_models(models, pool.prepare, resolve=resolve, minimum=minimum)
    for report in reports:
        if report.count(Status.NOT_CHECKED):
            raise BundleRejectedError(f"{report.count(Status.NOT_CHECKED)} golden images are not in the data folder")
        require_ok(report)


def require_ok(report: VerificationReport) -> None:
    """Nothing when ``report`` lets its bundle serve.

    Raises:
        BundleRejectedError: it does not; the message names the first reason.
    """
    if report.ok:
        return
    first = next((f"{result.name}: {result.reasons[0]}" for result in report.results if result.reasons), None)
    failed = report.count(Status.FAIL)
    counted = f"{failed} of {len(report.results)} golden records fail on {report.runtime}" if failed else None
    raise BundleRejectedError("; ".join(filter(None, (*report.problems, counted, first))))


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
