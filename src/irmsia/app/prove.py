"""The gate of activation: the golden records of a bundle, run as this machine would serve it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from irmsia.app.ready import is_proven
from irmsia.app.verify import require_ok, run_gate
from irmsia.bundles.load import Bundle
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.verify import Prepare, VerificationReport
from irmsia.settings.tree import Settings


def prove(
    settings: Settings,
    bundle: Bundle,
    prepare: Prepare,
    *,
    data: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[VerificationReport, ...]:
    """Run the golden records of ``bundle`` as this machine would serve it, and keep what passed.

    A report a precision; the first, f32, decides whether the bundle may serve.

    Args:
        settings: the tree; runtime and precision are taken from it.
        bundle: a checked bundle.
        prepare: reads and preprocesses one file, as the decoder pool does.
        data: folder in which the real images are looked up; null: they are NOT CHECKED, which fails nothing.
        advance: called once an image that is read.

    Raises:
        BundleRejectedError: the runtime does not take the network.
        InvalidRequestError: ``IRMSIA_HOME`` cannot be written.
    """

    def counted(source: bytes, spec: PreprocessSpec) -> PreparedInput:
        advance()
        return prepare(source, spec)

    return run_gate(settings, bundle, counted, data=data)


def require_proof(settings: Settings, bundle: Bundle, prepare: Prepare) -> None:
    """Nothing when this machine has proven ``bundle``, now or before.

    Raises:
        BundleRejectedError: a golden record is answered otherwise here; the message names the first.
    """
    if not is_proven(settings, bundle.id):
        require_ok(prove(settings, bundle, prepare)[0])
