"""Homes with the tiny model of the tests, and records that a bundle without golden records passed the gate here."""

from pathlib import Path

from irmsia.app.ready import gate_records
from irmsia.bundles.signing import machine_key
from irmsia.bundles.store import BundleStore
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import resolve_runtime
from irmsia.inference.verify import VerificationReport
from irmsia.settings.tree import Settings
from tests.bundles.tiny import make_fields, make_files


def make_home(home: Path) -> Path:
    """Make a folder the home of the tiny bundle, active: quick, and its answers mean nothing."""
    home.chmod(0o700)
    store = BundleStore(home)
    identity = store.add(make_fields(), make_files(), machine_key(home))
    note_proof(home, identity)  # it holds no golden records: a server would not take it without a proof
    store.activate(identity)
    return home


def note_proof(home: Path, identity: str) -> None:
    """Keep that the bundle of that id passed, sealed as the platform seals it."""
    settings = Settings(home=home)
    runtime = resolve_runtime(settings.engine.runtime)
    gate_records(settings).write(VerificationReport(identity, runtime, Precision.F32, (), ()))
