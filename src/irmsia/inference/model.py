"""A bundle made ready to answer on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irmsia import __version__
from irmsia.bundles.graph import expected_outputs
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError
from irmsia.findings.decision import NetworkOutputs
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import ModelRules
from irmsia.findings.service import IntendedUseRow, ModelInfo, TermGroup
from irmsia.findings.types import ModelRef
from irmsia.inference.processor import processor_identity
from irmsia.inference.runtimes.cache import CompiledCache
from irmsia.inference.runtimes.protocol import Compiled, Plan, Precision, Runtime, Session, Tensors
from irmsia.inference.runtimes.registry import AUTO, make_runtime, resolve_runtime

_ROUNDING = {Precision.F32: 1e-3, Precision.BF16: 0.1, Precision.INT8: 0.1}
"""By how much an output may differ between a batch and its images alone: other kernels round otherwise."""


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """The bundle, the scores of its feature statistics, and its network compiled for this processor.

    ``runtime`` and its ``version`` run the network in ``precision``.
    """

    bundle: Bundle
    scorer: RefusalScores
    compiled: Compiled
    runtime: str
    version: str
    precision: Precision

    @property
    def engine(self) -> str:
        """What computes the answer, for its evidence."""
        return f"{self.runtime} {self.version.split('-')[0]} at {self.precision}"

    @property
    def rules(self) -> ModelRules:
        """What the bundle fixes about its answers."""
        return self.bundle.manifest.rules

    @property
    def ref(self) -> ModelRef:
        """How an answer names the bundle."""
        manifest = self.bundle.manifest
        return ModelRef(id=self.bundle.id, name=manifest.name, version=manifest.version)


def make_model(
    bundle: Bundle,
    *,
    runtime: str = AUTO,
    precision: Precision = Precision.F32,
    sessions: int = 1,
    threads: int = 1,
    batch: int = 1,
    cache: CompiledCache | None = None,
) -> ReadyModel:
    """Compile the network of ``bundle`` and run it once, so that the first image is as fast as the others.

    Args:
        bundle: checked by `irmsia.bundles.load.load_bundle`.
        runtime: name of the runtime, or ``auto``.
        precision: what to compute in; whether it may be used here is said by `irmsia.inference.gate`.
        sessions: how many will be open at once.
        threads: processor threads of one session.
        batch: how many images it will be given together at most.
        cache: where compiled networks are kept; null compiles anew.

    Raises:
        BundleRejectedError: the runtime does not take the network, its outputs are not those of the manifest or others
            in a batch than alone, or the bundle holds no INT8 network and one is asked for.
        InvalidRequestError: there is no such runtime, or it does not compute in ``precision`` here.
    """
    scorer = RefusalScores.from_arrays(bundle.refusal(), bundle.manifest.rules.refusal)
    name = resolve_runtime(runtime)
    library = make_runtime(name)
    plan = Plan(precision, sessions, threads)
    network = _network(bundle, precision)
    key = "\n".join(
        [__version__, bundle.id, name, library.version, *map(str, (precision, sessions, threads)), processor_identity()]
    )
    compiled = _restore(bundle, library, plan, cache, key) if cache is not None else None
    if compiled is None:
        compiled = library.compile(network, plan)
        probe = _probe(compiled, bundle)
        if cache is not None:
            cache.save(key, compiled.export, probe)
    if batch > 1:
        _require_batches(compiled.open_session(), bundle, batch, precision)
    return ReadyModel(bundle, scorer, compiled, name, library.version, precision)


def make_info(model: ReadyModel, *, active: bool) -> ModelInfo:
    """What a service says of ``model``."""
    manifest = model.bundle.manifest
    return ModelInfo(
        id=model.bundle.id,
        name=manifest.name,
        version=manifest.version,
        task=manifest.task,
        active=active,
        ready=True,
        licence=manifest.licence,
        runtime=model.runtime,
        precision=model.precision.value,
        groups=tuple(TermGroup(group.region, group.kind, group.terms) for group in manifest.rules.groups),
        intended_use=tuple(
            IntendedUseRow(row.modalities, row.region, row.age_min, row.age_max) for row in manifest.rules.intended_use
        ),
        limitations=manifest.limitations,
    )


def network_outputs(tensors: Tensors, rules: ModelRules) -> NetworkOutputs:
    """The first image of a batch of network outputs, as `irmsia.findings.decision.decide` takes it (float64)."""
    return NetworkOutputs(
        router=tensors["router"][0].astype(np.float64),
        logits={group.region: tensors[f"logits_{group.region}"][0].astype(np.float64) for group in rules.groups},
        statistics=tensors["statistics"][0].astype(np.float64),
    )


def _network(bundle: Bundle, precision: Precision) -> bytes:
    if precision is not Precision.INT8:
        return bundle.model()
    network = bundle.int8_model()
    if network is None:
        raise BundleRejectedError("the bundle holds no INT8 network")
    return network


def _restore(bundle: Bundle, library: Runtime, plan: Plan, cache: CompiledCache, key: str) -> Compiled | None:
    """The network as it was kept, if it answers now as it did when it was kept."""
    entry = cache.load(key)
    if entry is None:
        return None
    try:
        compiled = library.restore(entry.blob, plan)
        if _probe(compiled, bundle) == entry.probe:
            return compiled
        reason = "answers otherwise"
    except BundleRejectedError as error:
        reason = error.message
    cache.drop(key, reason)
    return None


def _require_batches(session: Session, bundle: Bundle, batch: int, precision: Precision) -> None:
    """Nothing where noise in a batch gives what each picture of it gives alone; a runtime was seen that does not."""
    images = _noise(bundle, batch)
    together = session.infer(images)
    limit = _ROUNDING[precision]
    for row in range(batch):
        for name, values in session.infer(images[row : row + 1]).items():
            if not np.allclose(together[name][row : row + 1], values, atol=limit, rtol=limit):
                raise BundleRejectedError(
                    "the runtime answers several images at once otherwise than each alone; set engine.batch to 1"
                )


def _noise(bundle: Bundle, count: int) -> NDArray[np.float32]:
    """Pictures of noise as the network takes them, (count, channels, S, S); the same ones every time."""
    spec = bundle.manifest.preprocessing
    shape = (count, spec.channels, spec.resize.size, spec.resize.size)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _probe(compiled: Compiled, bundle: Bundle) -> bytes:
    """SHA-256 of all outputs for one picture of noise, whose shapes are those of the manifest."""
    tensors = compiled.open_session().infer(_noise(bundle, 1))
    for name, expected in expected_outputs(bundle.manifest).items():
        found = tensors[name].shape if name in tensors else ()
        if len(found) != len(expected) or any(
            want not in (None, have) for want, have in zip(expected, found, strict=True)
        ):
            raise BundleRejectedError(f"the network gives {name[:80]!r} in another shape than the manifest says")
    return hashlib.sha256(b"".join(np.ascontiguousarray(tensors[name]).tobytes() for name in sorted(tensors))).digest()
