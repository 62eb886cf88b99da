"""From a fitted network to a bundle: rules from validation, graph, golden records, figures of the sealed part."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from safetensors.numpy import save

from irmsia import __version__
from irmsia.app.evaluate import Judge, log_opening, measure_phantoms, measure_sealed
from irmsia.app.verify import prove_bundle
from irmsia.bundles.golden import GoldenRecord, PhantomSource, RealSource, make_record, write_records
from irmsia.bundles.load import open_bundle
from irmsia.bundles.manifest import HowMade, ManifestFields, Metric, PartSize
from irmsia.bundles.pack import pack_bundle, write_folder
from irmsia.bundles.signing import Trust, key_id
from irmsia.datasets.sealed import parse_sealed
from irmsia.evaluation.measure import Figure
from irmsia.findings.vocabulary import PHANTOM_REGION
from irmsia.imaging.phantoms import GOLDEN_SEEDS, PHANTOM_VERSION, make_phantom, qa_set
from irmsia.networks.diagnostic import MultiHeadDiagnosticModel
from irmsia.training.cases import CaseRow, Cases
from irmsia.training.checkpoint import load_weights
from irmsia.training.export import ExportedOutputs, export_onnx, output_names, sealed_network
from irmsia.training.fit import BEST, make_model
from irmsia.training.fit_foreign import make_foreign_head
from irmsia.training.freeze import REFUSAL_FILE, Frozen, PartOutputs, freeze
from irmsia.training.predict import predict
from irmsia.training.recipe import Plan, Recipe
from irmsia.training.starter import INTENDED_USE, LICENCE, LIMITATIONS, NAME, VERSION, starter_spec
from irmsia.training.statements import STATEMENTS

CASES = "cases"
RUN = "run"
FINISH_RUN = "finish"
FOREIGN = "foreign.safetensors"

_LIBRARIES = ("torch", "timm", "onnx", "onnxscript", "numpy", "opencv-python-headless", "openvino")


def build_bundle(work: Path, data: Path, out: Path, *, plan: Plan, key: Ed25519PrivateKey, home: Path) -> str:
    """Freeze, export, measure, pack, prove on this machine's runtime, write; return the new bundle's id.

    Measuring opens the sealed part, which is logged in ``home`` even when the bundle is not written in the end.

    Raises:
        BundleRejectedError: what was made does not load, or does not answer here as the trained network did; nothing
            is written then.
    """
    recipe = plan.base
    cases = Cases.load(work / CASES)
    model = fitted_model(work, plan)
    sealed_model = sealed_network(model, recipe.size)
    frozen = freeze(
        recipe,
        _outputs(sealed_model, cases, "train"),
        _outputs(sealed_model, cases, "validation"),
        slices=sealed_model.statistic_slices(),
        intended_use=INTENDED_USE,
    )
    sealed_list = (work / "sealed.jsonl").read_bytes()
    judge = Judge(frozen.rules, frozen.scorer, starter_spec(recipe.size), TorchInfer(sealed_model))
    figures = measure_sealed(judge, data, parse_sealed(sealed_list.decode("utf-8"))) + measure_phantoms(judge, qa_set())
    files = {
        "models/model.onnx": export_onnx(sealed_model, recipe.size),
        # safetensors writes the memory of an array as it lies, also of a transposed one
        REFUSAL_FILE: save({name: np.ascontiguousarray(array) for name, array in frozen.scorer.to_arrays().items()}),
        "golden.jsonl": write_records(golden_records(judge, data, cases.rows)),
        "sealed.jsonl": sealed_list,
    }
    fields = _fields(recipe, frozen, figures, made=_how_made(plan, cases, model, sealed_list))
    identity, content = pack_bundle(fields, files, key)
    log_opening(home, sealed_list, identity)
    trust = Trust(keys={key_id(key.public_key()): key.public_key()}, revoked=frozenset())
    prove_bundle(open_bundle(content, trust), data, minimum=len(GOLDEN_SEEDS))
    write_folder(out, content, replace=True)
    return identity


def fitted_model(work: Path, plan: Plan) -> MultiHeadDiagnosticModel:
    """Return the network that the plan's fits left in ``work``."""
    model = make_model(plan.base)
    load_weights(work / (RUN if plan.finish is None else FINISH_RUN) / BEST, model)
    if plan.foreign is not None:
        head = make_foreign_head(model, plan.base.size)
        load_weights(work / FOREIGN, head)
        model.foreign = head
    return model


class TorchInfer:
    """The sealed torch network at fp32, called as a runtime's session is."""

    def __init__(self, model: MultiHeadDiagnosticModel) -> None:
        self._graph = ExportedOutputs(model).eval()
        self._names = output_names(model)

    @torch.no_grad()
    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Map (N, 1, S, S) to the graph's named outputs."""
        outputs = self._graph(torch.from_numpy(np.ascontiguousarray(batch)))
        return {name: output.numpy() for name, output in zip(self._names, outputs, strict=True)}


def golden_records(judge: Judge, data: Path, rows: Sequence[CaseRow]) -> Iterator[GoldenRecord]:
    """Yield the records of phantoms of reserved seeds, then of validation images, evenly over the regions' terms."""
    for phantom in map(make_phantom, GOLDEN_SEEDS):
        truth = phantom.truth
        source = PhantomSource(version=PHANTOM_VERSION, kind=truth.kind, lesion=truth.lesion_kind, seed=truth.seed)
        yield _record(judge, phantom.data, source)
    for row in golden_rows(rows):
        yield _record(judge, (data / row.name).read_bytes(), RealSource(input_sha256=row.file_sha256))


def golden_rows(rows: Sequence[CaseRow]) -> list[CaseRow]:
    """Return validation images, one group once, taken in turn from every term of every region."""
    first_of_group = {row.group: row for row in rows if row.part == "validation" and row.region != PHANTOM_REGION}
    queues: dict[tuple[str, str], list[CaseRow]] = {}
    for row in sorted(first_of_group.values(), key=lambda row: row.file_sha256):
        queues.setdefault((row.region, row.term), []).append(row)
    turns = [(turn, key, row) for key, queue in queues.items() for turn, row in enumerate(queue)]
    return [row for _, _, row in sorted(turns, key=lambda item: item[:2])][: len(GOLDEN_SEEDS)]


def _record(judge: Judge, content: bytes, source: PhantomSource | RealSource) -> GoldenRecord:
    judgement = judge.judge(content)
    return make_record(
        source,
        frame_sha256=judgement.image.info.frame_sha256,
        fingerprint=judgement.prepared.fingerprint(),
        outputs=judgement.outputs,
        verdict=judgement.verdict,
        scores=judge.scorer.score_all(judgement.outputs.statistics),
    )


def _outputs(model: MultiHeadDiagnosticModel, cases: Cases, part: str) -> PartOutputs:
    indices = cases.indices(part)
    return PartOutputs([cases.rows[index] for index in indices], predict(model, cases.tensors, indices))


def _fields(recipe: Recipe, frozen: Frozen, figures: Sequence[Figure], *, made: HowMade) -> ManifestFields:
    return ManifestFields(
        name=NAME,
        version=VERSION,
        licence=LICENCE,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        preprocessing=starter_spec(recipe.size),
        rules=frozen.rules,
        limitations=LIMITATIONS,
        metrics=tuple(metric for figure in figures if (metric := _metric(figure)) is not None),
        how_made=made,
        statements=STATEMENTS,
    )


def _metric(figure: Figure) -> Metric | None:
    """Null where the value or a bound is not defined: a manifest holds finite numbers only."""
    estimate = figure.estimate
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return Metric(
        name=figure.name,
        value=round(estimate.value, 4),
        low=round(estimate.low, 4),
        high=round(estimate.high, 4),
        n=estimate.n,
        groups=estimate.groups,
        part="test",
        region=figure.region,
        term=figure.term,
    )


def part_sizes(rows: Sequence[CaseRow]) -> tuple[PartSize, ...]:
    """Images and groups of every term in every part, sorted."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row.region, row.term, row.part), []).append(row.group)
    return tuple(
        PartSize.model_validate(
            {"part": part, "region": region, "term": term, "images": len(held), "groups": len(set(held))}
        )
        for (region, term, part), held in sorted(groups.items())
    )


def _how_made(plan: Plan, cases: Cases, model: MultiHeadDiagnosticModel, sealed_list: bytes) -> HowMade:
    names = sorted(f"{row.file_sha256} {row.region} {row.term} {row.part}" for row in cases.rows)
    return HowMade(
        software=f"irmsia {__version__}",
        seed=plan.base.seed,
        samples_seen=plan.samples_seen(),
        data_digest=hashlib.sha256("\n".join(names).encode()).hexdigest(),
        sealed_digest=hashlib.sha256(sealed_list).hexdigest(),
        libraries={name: version(name).split("+")[0] for name in _LIBRARIES},
        parameters=sum(value.numel() for value in model.parameters()),
        architecture=plan.base.backbone,
        parts=part_sizes(cases.rows),
    )
