"""Golden records of a tiny network, made as training makes them: by another implementation than the one that serves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import onnx
from onnx.reference import ReferenceEvaluator

from irmsia.bundles.golden import GoldenRecord, PhantomSource, RealSource, make_record
from irmsia.bundles.load import read_tensors
from irmsia.findings.decision import decide
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import ModelRules
from irmsia.imaging.phantoms import GOLDEN_SEEDS, PHANTOM_VERSION, PhantomKind, make_phantom
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.model import network_outputs
from irmsia.inference.pipeline import make_facts
from tests.bundles.tiny import make_files
from tests.inference.reading import InProcessDecoder

Run = Callable[[bytes, PhantomSource | RealSource], GoldenRecord]


def make_records(
    network: onnx.ModelProto,
    rules: ModelRules,
    spec: PreprocessSpec,
    images: Mapping[str, bytes],
    *,
    phantoms: int = 4,
    kind: PhantomKind | None = None,
) -> tuple[GoldenRecord, ...]:
    """Records of the first ``phantoms`` golden phantoms, all of ``kind`` where given, and of ``images`` by digest."""
    run = _runner(network, rules, spec)
    made = [make_phantom(seed, kind) for seed in GOLDEN_SEEDS[:phantoms]]
    records = [run(phantom.data, _source(phantom.truth)) for phantom in made]
    return (*records, *(run(data, RealSource(input_sha256=digest)) for digest, data in images.items()))


def by_digest(*images: bytes) -> dict[str, bytes]:
    """What a folder of real images is to `resolve`."""
    return {hashlib.sha256(data).hexdigest(): data for data in images}


def _source(truth: object) -> PhantomSource:
    return PhantomSource(version=PHANTOM_VERSION, kind=truth.kind, lesion=truth.lesion_kind, seed=truth.seed)  # type: ignore[attr-defined]


def _runner(network: onnx.ModelProto, rules: ModelRules, spec: PreprocessSpec) -> Run:
    reference = ReferenceEvaluator(network)
    names = [output.name for output in network.graph.output]
    scorer = RefusalScores.from_arrays(read_tensors(make_files()["refusal.safetensors"]), rules.refusal)
    decoder = InProcessDecoder()

    def run(data: bytes, source: PhantomSource | RealSource) -> GoldenRecord:
        prepared = decoder.prepare(data, spec)
        frame = prepared.frames[0]
        tensors = dict(zip(names, reference.run(None, {"image": frame.tensor[None]}), strict=True))
        outputs = network_outputs(tensors, rules)
        verdict = decide(rules, scorer, make_facts(prepared.info, frame), outputs)
        return make_record(
            source,
            frame_sha256=prepared.info.frame_sha256,
            fingerprint=frame.fingerprint(),
            outputs=outputs,
            verdict=verdict,
            scores=scorer.score_all(outputs.statistics),
        )

    return run
