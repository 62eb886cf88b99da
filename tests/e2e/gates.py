"""Records that a bundle passed the golden gate here, for bundles of the tests that hold no golden records."""

from pathlib import Path

from irmsia.app.ready import gate_records
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import resolve_runtime
from irmsia.inference.verify import VerificationReport
from irmsia.settings.tree import Settings


def note_proof(home: Path, identity: str) -> None:
    """Keep that the bundle of that id passed, sealed as the platform seals it."""
    settings = Settings(home=home)
    runtime = resolve_runtime(settings.engine.runtime)
    gate_records(settings).write(VerificationReport(identity, runtime, Precision.F32, (), ()))
