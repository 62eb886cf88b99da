"""A bundle made ready to answer on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irmsia.bundles.graph import expected_outputs
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError
from irmsia.findings.decision import NetworkOutputs
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import ModelRules
from irmsia.findings.service import IntendedUseRow, ModelInfo, TermGroup
from irmsia.findings.types import ModelRef
from irmsia.inference.runtimes.protocol import Compiled, Precision, Tensors
from irmsia.inference.runtimes.registry import make_runtime


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """The bundle, the scores of its feature statistics, and its network compiled for this processor."""

    bundle: Bundle
    scorer: RefusalScores
    compiled: Compiled
    runtime: str

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
    runtime: str = "openvino",
    precision: Precision = Precision.F32,
    sessions: int = 1,
    threads: int = 1,
) -> ReadyModel:
    """Compile the network of ``bundle`` and run it once, so that the first image is as fast as the others.

    Raises:
        BundleRejectedError: the runtime does not take the network, its outputs are not those of the manifest, or the
            bundle holds no INT8 network and one is asked for.
        InvalidRequestError: there is no such runtime.
    """
    scorer = RefusalScores.from_arrays(bundle.refusal(), bundle.manifest.rules.refusal)
    compiled = make_runtime(runtime).compile(
        _network(bundle, precision), precision=precision, sessions=sessions, threads=threads
    )
    model = ReadyModel(bundle, scorer, compiled, runtime)
    _warm_up(model)
    return model


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
        precision=model.compiled.precision.value,
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


def _warm_up(model: ReadyModel) -> None:
    spec = model.bundle.manifest.preprocessing
    blank = np.zeros((1, spec.channels, spec.resize.size, spec.resize.size), np.float32)
    tensors = model.compiled.open_session().infer(blank)
    for name, shape in expected_outputs(model.bundle.manifest).items():
        found = tensors[name].shape if name in tensors else ()
        if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
            raise BundleRejectedError(f"the network gives {name[:80]!r} in another shape than the manifest says")
