"""A small real bundle made without torch: one convolution, contribution maps, a router that always says chest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from irmsia.bundles.golden import GoldenRecord, write_records
from irmsia.bundles.manifest import HowMade, ManifestFields, Metric
from irmsia.findings.fit_refusal import StatisticPlan, fit_refusal_scores
from irmsia.findings.rules import (
    Calibration,
    Conformal,
    IntendedUse,
    LabelGroup,
    ModelRules,
    OperatingPoint,
    Refusal,
    Router,
    Statistic,
)
from irmsia.imaging.preprocess import PreprocessSpec, ResizeSpec

SIZE = 32
CELL = 8
CHANNELS = 4
TERMS = {
    "chest": ("normal", "pneumonia"),
    "phantom": ("normal", "phantom_lesion_bright", "phantom_lesion_dark"),
}
SPEC = PreprocessSpec(resize=ResizeSpec(size=SIZE))


def make_network(*, channels: int = 1, seed: int = 0, **given: np.ndarray) -> onnx.ModelProto:
    """Convolution over cells, ReLU, one 1 x 1 convolution a head whose maps add up to the logit but for its bias.

    ``given`` replaces weights by name.
    """
    noise = np.random.default_rng(seed)
    weights = {
        "cells_weight": noise.normal(0, 0.2, (CHANNELS, channels, CELL, CELL)),
        "router_weight": noise.normal(0, 0.01, (len(TERMS), CHANNELS, 1, 1)),
        "router_bias": np.array([5.0, -5.0]),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "cells_weight"], ["raw"], strides=[CELL, CELL]),
        helper.make_node("Relu", ["raw"], ["cells"]),
        helper.make_node("ReduceMean", ["cells", "axes"], ["statistics"], keepdims=0),
        helper.make_node("Conv", ["cells", "router_weight"], ["router_maps"]),
        helper.make_node("ReduceSum", ["router_maps", "axes"], ["router_sum"], keepdims=0),
        helper.make_node("Add", ["router_sum", "router_bias"], ["router"]),
    ]
    outputs = [_output("router", ["N", len(TERMS)]), _output("statistics", ["N", CHANNELS])]
    for region, terms in TERMS.items():
        weights[f"{region}_weight"] = noise.normal(0, 0.15, (len(terms), CHANNELS, 1, 1))
        weights[f"{region}_bias"] = noise.normal(0, 0.5, len(terms))
        nodes += [
            helper.make_node("Conv", ["cells", f"{region}_weight"], [f"maps_{region}"]),
            helper.make_node("ReduceSum", [f"maps_{region}", "axes"], [f"{region}_sum"], keepdims=0),
            helper.make_node("Add", [f"{region}_sum", f"{region}_bias"], [f"logits_{region}"]),
        ]
        grid = SIZE // CELL
        outputs += [
            _output(f"logits_{region}", ["N", len(terms)]),
            _output(f"maps_{region}", ["N", len(terms), grid, grid]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", channels, SIZE, SIZE])],
        outputs,
        [_initialiser(name, values) for name, values in (weights | given).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_group(region: str, *, quantile: float = 0.6) -> LabelGroup:
    """An exclusive group with plain calibration and one operating point."""
    terms = TERMS[region]
    count = len(terms)
    return LabelGroup(
        region=region,
        kind="exclusive",
        terms=terms,
        calibration=Calibration(temperature=1.0, bias=(0.0,) * count),
        prior=(1 / count,) * count,
        operating_points=(OperatingPoint(low=0.45, high=0.55, point=0.5, separable=False),),
        conformal=Conformal(coverage=0.95, quantiles=(quantile,) * count, pooled=(False,) * count, n=(30,) * count),
    )


def make_rules(**changes: Any) -> ModelRules:
    """Rules that let every picture of unknown modality through; ``changes`` replace top-level parts."""
    parts = {
        "router": Router(regions=tuple(TERMS), threshold=0.5),
        "groups": tuple(map(make_group, TERMS)),
        "refusal": Refusal(
            file="refusal.safetensors",
            statistics=(Statistic(name="early", start=0, stop=CHANNELS, thresholds={"chest": 20.0}),),
        ),
        "intended_use": (IntendedUse(modalities=("CR", "DX"), region="chest", age_min=0, age_max=17),),
    }
    return ModelRules(**(parts | changes))


def make_fields(**changes: Any) -> ManifestFields:
    """A complete manifest; ``changes`` replace top-level parts."""
    parts: dict[str, Any] = {
        "name": "tiny",
        "version": "1.0",
        "licence": "MIT",
        "created": "2026-11-21",
        "preprocessing": SPEC,
        "rules": make_rules(),
        "limitations": ("Made for tests: its answers mean nothing.",),
        "metrics": (Metric(name="auroc", value=0.5, low=0.4, high=0.6, n=64, groups=32, part="test"),),
        "how_made": HowMade(
            software="irmsia tests",
            seed=0,
            samples_seen=0,
            data_digest="0" * 64,
            sealed_digest="1" * 64,
            libraries={"onnx": onnx.__version__},
            parameters=1000,
            architecture="one convolution",
        ),
    }
    return ManifestFields(**(parts | changes))


def make_files(
    network: onnx.ModelProto | bytes | None = None, records: Sequence[GoldenRecord] = ()
) -> dict[str, bytes]:
    """The files that the caller of `write_bundle` gives."""
    network = make_network() if network is None else network
    statistics = np.random.default_rng(1).normal(1, 0.5, (40, CHANNELS))
    scores = fit_refusal_scores(statistics, ["chest"] * 40, [StatisticPlan("early", 0, CHANNELS, "mahalanobis")])
    return {
        "models/model.onnx": network if isinstance(network, bytes) else network.SerializeToString(),
        "refusal.safetensors": safetensors.numpy.save(scores.to_arrays()),
        "golden.jsonl": write_records(records),
        "sealed.jsonl": b'{"sha256": "' + b"2" * 64 + b'"}\n',
    }


def _initialiser(name: str, values: np.ndarray) -> onnx.TensorProto:
    dtype = np.int64 if name == "axes" else np.float32
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def _output(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
