"""What an ONNX graph may hold before any runtime sees it: plain tensors inside the file, standard operators.

External data would make the runtime open files that nobody hashed; sparse initialisers and foreign operator domains
are where ONNX runtimes had memory faults. Loops and branches never end or hide work, and a few bytes can ask for a
tensor of terabytes: a network that reads pictures needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from irmsia.bundles.manifest import ManifestFields
from irmsia.errors import BundleRejectedError

INPUT = "image"

MAX_ELEMENTS = 2**26
"""Of any one tensor, for one image: 256 MiB of float32."""

MAX_NODES = 100_000
"""Of operators, and of tensors."""

_DOMAINS = {"", "ai.onnx"}
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}


def check_graph(data: bytes, fields: ManifestFields) -> None:
    """Nothing when ``data`` is a self-contained ONNX model with the inputs and outputs that ``fields`` promise.

    Input ``image`` float32 (N, C, S, S); outputs float32: ``router`` (N, R), ``logits_<region>`` (N, K),
    ``maps_<region>`` (N, K, h, w), ``statistics`` (N, D).

    Raises:
        BundleRejectedError: anything else.
    """
    model = _parse(data)
    _check_operators(model)
    for graph in iter_graphs(model.graph):
        _check_tensors(graph)
    _check_flow(model.graph)
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise BundleRejectedError("the network is not valid ONNX") from error
    _check_sizes(inferred.graph)
    _check_numbers(model.graph)
    _check_signature(model.graph, fields)


def iter_graphs(graph: Any) -> Iterator[Any]:
    """``graph`` and every graph inside its operators (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from iter_graphs(inner)


def _parse(data: bytes) -> Any:
    try:
        return onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise BundleRejectedError("the network is not an ONNX file") from error


def _check_operators(model: Any) -> None:
    if model.functions:
        raise BundleRejectedError("the network defines operators of its own")
    if model.training_info:
        raise BundleRejectedError("the network holds a training graph")
    domains = {entry.domain for entry in model.opset_import}
    domains |= {node.domain for graph in iter_graphs(model.graph) for node in graph.node}
    if foreign := sorted(domains - _DOMAINS):
        raise BundleRejectedError(f"the network uses operators of an unknown domain: {foreign[0][:80]!r}")


def _check_flow(graph: Any) -> None:
    if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_NODES:
        raise BundleRejectedError("the network has too many operators")
    if any(inner is not graph for inner in iter_graphs(graph)):
        raise BundleRejectedError("the network branches or loops")


def _check_sizes(graph: Any) -> None:
    """By arithmetic, before any runtime allocates. Every length but the number of images must follow from the file."""
    shapes = [list(tensor.dims) for tensor in iter_tensors(graph)]
    known = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    for name in (*known, *(name for node in graph.node for name in node.output if name)):
        if name not in known or (shape := _shape(known[name])) is None:
            raise BundleRejectedError("the network computes the shape of a tensor")
        shapes.append(shape)
    if any(math.prod(shape) > MAX_ELEMENTS or min(shape, default=0) < 0 for shape in shapes):
        raise BundleRejectedError("the network asks for a tensor of more than 256 MiB")


def _shape(value: Any) -> list[int] | None:
    """Lengths for one image; null where one that is not the number of images is unknown."""
    tensor = value.type.tensor_type
    lengths = [dimension.dim_value if dimension.HasField("dim_value") else None for dimension in tensor.shape.dim]
    if not tensor.HasField("shape") or None in lengths[1:] or lengths == [None]:
        return None
    return [1 if length is None else length for length in lengths]


def _check_tensors(graph: Any) -> None:
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    if graph.sparse_initializer or any(a.HasField("sparse_tensor") or a.sparse_tensors for a in attributes):
        raise BundleRejectedError("the network holds a sparse tensor")
    tensors = iter_tensors(graph)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        raise BundleRejectedError("the network keeps weights outside its file")


def iter_tensors(graph: Any) -> Iterator[Any]:
    """The dense tensors of ``graph`` itself: initialisers, then those in its operators' attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else []
            yield from attribute.tensors


def _check_numbers(graph: Any) -> None:
    """A NaN weight may pass unseen: some runtimes' ReLU makes 0 of it."""
    for part in iter_graphs(graph):
        for tensor in iter_tensors(part):
            if tensor.data_type in _FLOATS and not np.isfinite(_values(tensor)).all():
                raise BundleRejectedError("the network holds a number that is not finite")


def _values(tensor: Any) -> Any:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:  # more or fewer bytes than the shape says
        raise BundleRejectedError("the network holds a tensor that is not of its shape") from error


def _check_signature(graph: Any, fields: ManifestFields) -> None:
    spec = fields.preprocessing
    fed = [value for value in graph.input if value.name not in {tensor.name for tensor in graph.initializer}]
    if [value.name for value in fed] != [INPUT]:
        raise BundleRejectedError(f"the network must take exactly one input named {INPUT!r}")
    _check_value(fed[0], (None, spec.channels, spec.resize.size, spec.resize.size))
    outputs = {value.name: value for value in graph.output}
    expected = expected_outputs(fields)
    if set(outputs) != set(expected):
        wrong = sorted(set(outputs) ^ set(expected))[0]
        raise BundleRejectedError(f"the network's outputs are not those of the manifest: {wrong[:80]!r}")
    for name, shape in expected.items():
        _check_value(outputs[name], shape)


def expected_outputs(fields: ManifestFields) -> dict[str, tuple[int | None, ...]]:
    """Output name -> shape; None where any length goes."""
    shapes: dict[str, tuple[int | None, ...]] = {
        "router": (None, len(fields.rules.router.regions)),
        "statistics": (None, None),
    }
    for group in fields.rules.groups:
        shapes[f"logits_{group.region}"] = (None, len(group.terms))
        shapes[f"maps_{group.region}"] = (None, len(group.terms), None, None)
    return shapes


def _check_value(value: Any, expected: tuple[int | None, ...]) -> None:
    tensor = value.type.tensor_type
    shape = [dimension.dim_value if dimension.HasField("dim_value") else None for dimension in tensor.shape.dim]
    fits = len(shape) == len(expected) and all(
        known is None or wanted is None or known == wanted for known, wanted in zip(shape, expected, strict=True)
    )
    if not fits or tensor.elem_type != onnx.TensorProto.FLOAT:
        raise BundleRejectedError(f"the network's {value.name[:80]!r} has another shape or type than the manifest says")
