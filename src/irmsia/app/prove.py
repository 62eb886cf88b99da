"""The gate of activation: the golden records of a bundle, run as this machine would serve it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from irmsia.app.proofs import forget_proof, is_proven, note_proof
from irmsia.app.verify import find_by_digest
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.verify import Prepare, Status, VerificationReport, verify_bundle
from irmsia.settings.tree import Settings


def prove(
    settings: Settings,
    bundle: Bundle,
    prepare: Prepare,
    *,
    data: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[VerificationReport, ...]:
    """Run the golden records of ``bundle`` as this machine would serve it, and note whether they pass.

    A report a runtime and precision; the first decides whether the bundle may serve.

    Args:
        settings: the tree; runtime and precision are taken from it.
        bundle: a checked bundle.
        prepare: reads and preprocesses one file, as the decoder pool does.
        data: folder in which the real images are looked up; null: they are NOT CHECKED, which fails nothing.
        advance: called once a record that is run.

    Raises:
        BundleRejectedError: the runtime does not take the network.
    """

    def counted(source: bytes, spec: PreprocessSpec) -> PreparedInput:
        advance()
        return prepare(source, spec)

    report = verify_bundle(
        bundle,
        counted,
        resolve=find_by_digest(data, settings.limits.file_bytes),
        runtime=settings.engine.runtime,
        precision=Precision(settings.engine.precision),
    )
    (note_proof if report.ok else forget_proof)(settings, bundle.id)
    return (report,)


def require_proof(settings: Settings, bundle: Bundle, prepare: Prepare) -> None:
    """Nothing when this machine has proven ``bundle``, now or before.

    Raises:
        BundleRejectedError: a golden record is answered otherwise here; the message names the first.
    """
    if is_proven(settings, bundle.id):
        return
    decisive = prove(settings, bundle, prepare)[0]
    if not decisive.ok:
        raise BundleRejectedError(_why(decisive))


def _why(report: VerificationReport) -> str:
    first = next((f"{result.name}: {result.reasons[0]}" for result in report.results if result.reasons), None)
    failed = report.count(Status.FAIL)
    counted = f"{failed} of {len(report.results)} golden records fail" if failed else None
    return "; ".join(filter(None, (*report.problems, counted, first)))
