"""Engines on the packaged network: ``python -m benchmarks.engines [--out FILE]``. Processor time, one thread, batch 1.

Torch eager (rebuilt from the bundle's own weights), ONNX Runtime and OpenVINO, at fp32 and bf16, with the contribution
map among the outputs and without. All in one process, interleaved, two rounds; every engine also passes the golden
gate or says where it does not. Exit 1 when a goal is missed or the rounds disagree.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from irmsia import durable
from irmsia.bundles.graph import iter_graphs
from irmsia.bundles.load import Bundle, load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.findings.refusal import RefusalScores
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import GOLDEN_SEEDS, make_phantom
from irmsia.inference.model import ReadyModel, make_model
from irmsia.inference.processor import processor_identity
from irmsia.inference.runtimes.protocol import Plan, Precision, Session, Tensors
from irmsia.inference.runtimes.registry import installed_runtimes, library_version, make_runtime
from irmsia.inference.verify import VerificationReport, verify_models
from irmsia.networks.diagnostic import HeadSpec, MultiHeadDiagnosticModel
from irmsia.training.export import ExportedOutputs, _observed_pairs, fuse_batch_norm, output_names
from irmsia.training.fit_foreign import make_foreign_head

BASE = "torch eager f32"
RUNS = 5
REPEATS = 61
ROUNDS = 2
AGREE = 0.10
GOALS = (("openvino f32", 2.0), ("openvino bf16", 3.0))
MAP_GOAL = 0.03

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES = 32 * 2**20  # the largest that glibc takes

Infer = Callable[[NDArray[np.float32]], Tensors]


@dataclass(frozen=True)
class Engine:
    """One way to run the network. ``model`` is what the gate asks; null where the map is left out."""

    name: str
    infer: Infer
    model: ReadyModel | None


class TorchNetwork:
    """The torch network as a compiled network of ours."""

    def __init__(self, network: MultiHeadDiagnosticModel, *, channels_last: bool, bf16: bool) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self._graph = ExportedOutputs(network).eval().to(memory_format=layout)
        self._names = output_names(network)
        self._layout = layout
        self._bf16 = bf16

    def open_session(self) -> Session:
        """Itself: one thread asks."""
        return self

    def export(self, scratch: Path) -> None:
        """Nothing is kept."""

    @torch.inference_mode()
    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        """Eager, operator by operator."""
        image = torch.from_numpy(batch).contiguous(memory_format=self._layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            outputs = self._graph(image)
        return {name: value.float().numpy() for name, value in zip(self._names, outputs, strict=True)}


def read_weights(network: bytes) -> dict[str, NDArray[np.float32]]:
    """The initialisers of the bundle's graph by the parameter's name in torch."""
    graph = onnx.load_model_from_string(network).graph
    named = {tensor.name.removesuffix(".fp16").removeprefix("model."): tensor for tensor in graph.initializer}
    return {name: numpy_helper.to_array(tensor).astype(np.float32) for name, tensor in named.items()}


def fused_network(bundle: Bundle) -> MultiHeadDiagnosticModel:
    """The network as it was exported: norms folded into their convolutions, the bundle's weights."""
    network = fuse_batch_norm(plain_network(bundle), example(bundle))
    network.load_state_dict(tensors_of(bundle, network))
    assert isinstance(network, MultiHeadDiagnosticModel)
    return network


def network_as_trained(bundle: Bundle) -> MultiHeadDiagnosticModel:
    """The same function with its norms, as eager torch runs it: each norm only adds its convolution's bias."""
    network = plain_network(bundle).eval()
    pairs = _observed_pairs(network, example(bundle))
    weights = read_weights(bundle.model())
    state = network.state_dict()
    for norm_name, convolution in pairs.items():
        norm: Any = network.get_submodule(norm_name)
        bias = weights.pop(f"{convolution}.bias")
        state[f"{norm_name}.weight"] = torch.ones(len(bias))
        state[f"{norm_name}.bias"] = torch.from_numpy(bias)
        state[f"{norm_name}.running_mean"] = torch.zeros(len(bias))
        state[f"{norm_name}.running_var"] = torch.full((len(bias),), 1.0 - norm.eps)
    state.update({name: torch.from_numpy(weights[name]) for name in state if name in weights})
    network.load_state_dict(state)
    return network


def plain_network(bundle: Bundle) -> MultiHeadDiagnosticModel:
    """The architecture that the manifest names, without the training aid, which no graph holds."""
    rules = bundle.manifest.rules
    terms = {group.region: len(group.terms) for group in rules.groups}
    heads = tuple(HeadSpec(region, terms[region]) for region in rules.router.regions)
    network = MultiHeadDiagnosticModel(bundle.manifest.how_made.architecture, heads)
    network.lesion = nn.Identity()  # type: ignore[assignment] - declared as a convolution
    if any(name.startswith("foreign.") for name in read_weights(bundle.model())):
        network.foreign = make_foreign_head(network, bundle.manifest.preprocessing.resize.size)
    return network


def example(bundle: Bundle) -> torch.Tensor:
    """One blank input."""
    size = bundle.manifest.preprocessing.resize.size
    return torch.zeros(1, 1, size, size)


def tensors_of(bundle: Bundle, network: nn.Module) -> dict[str, torch.Tensor]:
    """The bundle's weights for every parameter of ``network``; a missing one raises KeyError."""
    weights = read_weights(bundle.model())
    return {name: torch.from_numpy(weights[name]) for name in network.state_dict()}


def without_maps(network: bytes) -> bytes:
    """The graph without its map outputs."""
    proto = onnx.load_model_from_string(network)
    kept = [output for output in proto.graph.output if not output.name.startswith("maps_")]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    assert len(list(iter_graphs(proto.graph))) == 1
    return bytes(proto.SerializeToString())


def make_engines(bundle: Bundle) -> list[Engine]:
    """Every engine; torch first, the base first of all."""
    scorer = RefusalScores.from_arrays(bundle.refusal(), bundle.manifest.rules.refusal)

    def of_torch(name: str, network: MultiHeadDiagnosticModel, *, last: bool = False, bf16: bool = False) -> Engine:
        compiled = TorchNetwork(network, channels_last=last, bf16=bf16)
        precision = Precision.BF16 if bf16 else Precision.F32
        return Engine(name, compiled.infer, ReadyModel(bundle, scorer, compiled, name, torch.__version__, precision))

    engines = [
        of_torch(BASE, network_as_trained(bundle)),
        of_torch("torch eager f32, norms fused", fused_network(bundle)),
        of_torch("torch eager f32, fused, channels last", fused_network(bundle), last=True),
        of_torch("torch eager bf16, fused, channels last", fused_network(bundle), last=True, bf16=True),
    ]
    for runtime in installed_runtimes():
        for precision in make_runtime(runtime).precisions:
            if precision is not Precision.INT8:
                engines += of_runtime(bundle, runtime, precision)
    return engines


def of_runtime(bundle: Bundle, runtime: str, precision: Precision) -> list[Engine]:
    """With the map and without."""
    model = make_model(bundle, runtime=runtime, precision=precision)
    bare = make_runtime(runtime).compile(without_maps(bundle.model()), Plan(precision))
    name = f"{runtime} {precision}"
    return [
        Engine(name, model.compiled.open_session().infer, model),
        Engine(f"{name}, no map", bare.open_session().infer, None),
    ]


def fix_allocator() -> bool:
    """Keep glibc from giving memory back and forth; alike for every engine, since all run in this process."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(name, _MMAP_BYTES) == 1 for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


def one_thread() -> None:
    """After every import, which may set threads by itself."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def measure_round(engines: Sequence[Engine], images: Sequence[NDArray[np.float32]]) -> dict[str, list[float]]:
    """Processor milliseconds an image, all engines in turn, again and again."""
    spent: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for repeat in range(REPEATS):
        # Every other pass backwards: nobody always runs after the same neighbour.
        for engine in engines if repeat % 2 == 0 else reversed(engines):
            engine.infer(images[0])
            begin = time.process_time()
            for run in range(RUNS):
                engine.infer(images[run % len(images)])
            spent[engine.name].append(1000.0 * (time.process_time() - begin) / RUNS)
    return spent


def ratios(spent: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Base over engine: the median of the ratios within each pass, so that what slows a pass slows both sides."""
    pairs = {name: zip(spent[BASE], times, strict=True) for name, times in spent.items()}
    return {name: statistics.median(base / other for base, other in pair) for name, pair in pairs.items()}


def map_costs(spent: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Share of time that the map adds to plain inference, an engine with a map-less twin."""
    return {
        name: statistics.median(own / bare - 1.0 for own, bare in zip(times, spent[f"{name}, no map"], strict=True))
        for name, times in spent.items()
        if f"{name}, no map" in spent
    }


def run_gate(engines: Sequence[Engine]) -> dict[str, VerificationReport]:
    """The golden phantoms on every engine."""
    asked = [engine for engine in engines if engine.model is not None]
    with closing(DecoderPool(1, ReadLimits())) as pool:
        reports = verify_models([engine.model for engine in asked if engine.model is not None], pool.prepare)
    return {engine.name: report for engine, report in zip(asked, reports, strict=True)}


def largest_difference(engine: Engine, other: Engine, images: Sequence[NDArray[np.float32]]) -> float:
    """Over all outputs that both give, on every image."""
    pairs = [(engine.infer(image), other.infer(image)) for image in images]
    return max(float(np.abs(a[name] - b[name]).max()) for a, b in pairs for name in a.keys() & b.keys())


def read_images(bundle: Bundle) -> list[NDArray[np.float32]]:
    """Eight phantoms as the network gets them."""
    with closing(DecoderPool(1, ReadLimits())) as pool:
        spec = bundle.manifest.preprocessing
        return [pool.prepare(make_phantom(seed).data, spec).frames[0].tensor[None] for seed in GOLDEN_SEEDS[:8]]


def main() -> int:
    """Measure, print, write; 1 when a goal is missed or the rounds disagree."""
    parser = argparse.ArgumentParser(prog="benchmarks.engines", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON here")
    out = parser.parse_args().out
    fixed = fix_allocator()
    one_thread()
    bundle = load_bundle(STARTER, read_trust(None))
    engines, images = make_engines(bundle), read_images(bundle)
    gate = run_gate(engines)
    differences = {engine.name: largest_difference(engine, engines[1], images) for engine in engines}
    rounds = [measure_round(engines, images) for _ in range(ROUNDS)]
    result = summarise(rounds, gate, differences) | {
        "bundle": bundle.id,
        "processor": processor_identity(),
        "libraries": [f"torch {torch.__version__}", *map(library_version, installed_runtimes())],
        "allocator_fixed": fixed,
    }
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        durable.write_text(out, json.dumps(result, indent=2) + "\n")
    print_table(result)
    return 0 if all(goal["met"] for goal in result["goals"]) else 1


def summarise(
    rounds: Sequence[Mapping[str, Sequence[float]]],
    gate: Mapping[str, VerificationReport],
    differences: Mapping[str, float],
) -> dict[str, Any]:
    """All figures, and which goals are met."""
    per_round = [ratios(spent) for spent in rounds]
    all_spent = {name: [time for spent in rounds for time in spent[name]] for name in rounds[0]}
    overall, costs = ratios(all_spent), map_costs(all_spent)
    rows = [
        {
            "engine": name,
            "ratio": round(overall[name], 3),
            "rounds": [round(found[name], 3) for found in per_round],
            "largest_output_difference": differences[name],
            "gate": None if name not in gate else gate[name].ok,
            "max_dp": None if name not in gate else gate[name].max_dp,
            "flips": None if name not in gate else gate[name].flips,
            "map_cost": None if name not in costs else round(costs[name], 4),
        }
        for name in overall
    ]
    return {"base": BASE, "rows": rows, "goals": list(goals(rows))}


def goals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each goal with what was seen."""
    found = {row["engine"]: row for row in rows}
    made = [
        {
            "goal": f"{name} >= {least} x {BASE}, gate passed",
            "seen": found[name]["ratio"],
            "met": is_met(found[name], least),
        }
        for name, least in GOALS
        if name in found
    ]
    for row in rows:
        if row["map_cost"] is not None:
            what = f"map of {row['engine']} <= {MAP_GOAL:.0%} over plain inference"
            made.append({"goal": what, "seen": row["map_cost"], "met": row["map_cost"] <= MAP_GOAL})
    apart = max(abs(row["rounds"][0] / row["rounds"][1] - 1.0) for row in rows)
    made.append({"goal": f"rounds agree within {AGREE:.0%}", "seen": round(apart, 3), "met": apart <= AGREE})
    return made


def is_met(row: Mapping[str, Any], least: float) -> bool:
    """Fast enough, and it answers as trained."""
    return bool(row["ratio"] >= least and row["gate"])


def print_table(result: Mapping[str, Any]) -> None:
    """For people."""
    print(f"{result['processor']}; {', '.join(result['libraries'])}\n")
    print(f"{'engine':42} {'times faster':>12} {'rounds':>13} {'gate':>6} {'max dp':>8} {'flips':>5} {'map':>7}")
    for row in result["rows"]:
        both = " ".join(f"{value:.2f}" for value in row["rounds"])
        gate = {True: "pass", False: "FAIL", None: ""}[row["gate"]]
        dp = "" if row["max_dp"] is None else f"{row['max_dp']:.1e}"
        cost = "" if row["map_cost"] is None else f"{row['map_cost']:+.1%}"
        flips = "" if row["flips"] is None else row["flips"]
        print(f"{row['engine']:42} {row['ratio']:12.2f} {both:>13} {gate:>6} {dp:>8} {flips:>5} {cost:>7}")
    print()
    for goal in result["goals"]:
        print(f"{'met   ' if goal['met'] else 'MISSED'}  {goal['goal']}: {goal['seen']}")


if __name__ == "__main__":
    sys.exit(main())
