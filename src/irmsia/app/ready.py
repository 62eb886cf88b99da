"""How this machine runs a bundle: which runtime, the precision that was proven here, what was compiled before."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from irmsia.bundles.load import Bundle
from irmsia.bundles.machine import MachineSeal
from irmsia.inference.gate import GateRecords, choose_precision
from irmsia.inference.model import ReadyModel, make_model
from irmsia.inference.runtimes.cache import CompiledCache
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import resolve_runtime
from irmsia.settings.tree import Settings


def model_maker(settings: Settings, sessions: int, batch: int = 1) -> Callable[[Bundle], ReadyModel]:
    """A function that makes a bundle ready for so many sessions and so many images together.

    It raises as `irmsia.inference.model.make_model`.
    """
    return partial(_make, settings, sessions, batch, compiled_cache(settings))


def gate_records(settings: Settings) -> GateRecords:
    """What passed the golden gate on this machine."""
    return GateRecords(settings.home / "gates", partial(MachineSeal, settings.home, "gate"))


def is_proven(settings: Settings, identity: str) -> bool:
    """Whether the bundle of that id passed the gate on this machine, with what is installed now."""
    return gate_records(settings).passed(identity, resolve_runtime(settings.engine.runtime), Precision.F32)


def compiled_cache(settings: Settings) -> CompiledCache | None:
    """Where compiled networks are kept; null where the settings keep none."""
    most = settings.engine.cache_bytes
    seal = partial(MachineSeal, settings.home, "compiled")
    return CompiledCache(settings.home / "cache" / "compiled", seal, most_bytes=most) if most else None


def _make(settings: Settings, sessions: int, batch: int, cache: CompiledCache | None, bundle: Bundle) -> ReadyModel:
    engine = settings.engine
    return make_model(
        bundle,
        runtime=engine.runtime,
        precision=choose_precision(engine.precision, bundle.id, engine.runtime, gate_records(settings)),
        sessions=sessions,
        threads=engine.threads,
        batch=batch,
        cache=cache,
    )
