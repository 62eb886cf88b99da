"""No runtime sees a network that reaches outside its file or beyond the standard's operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from irmsia.bundles.graph import check_graph, expected_outputs
from irmsia.errors import BundleRejectedError
from tests.bundles.tiny import make_fields, make_network


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _external_named_only(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def _external_in_attribute(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "value")
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))


def _external_beside(model: onnx.ModelProto) -> None:
    """An attribute that holds a list of tensors beside the one that it should hold."""
    _external_in_attribute(model)
    attribute = model.graph.node[-1].attribute[0]
    attribute.tensors.append(attribute.t)
    attribute.t.ClearField("external_data")


def _external_in_branch(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "inner")
    tensor.external_data.add(key="location", value="weights.bin")
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    branch = helper.make_graph([], "branch", [], [value], [tensor])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch))


def _sparse_initialiser(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _sparse_constant(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    sparse = helper.make_sparse_tensor(values, indices, [4])
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], sparse_value=sparse))


def _foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Anything", ["image"], ["x"], domain="com.example"))


def _foreign_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _nan_weight(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    values = np.full(numpy_helper.to_array(weights).shape, np.nan, np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def _infinite_constant(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.array([np.inf], np.float16), "value")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))


def _own_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(helper.make_function("", "Mine", ["a"], ["b"], [node], [helper.make_opsetid("", 20)]))


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("NoSuchOperator", ["image"], ["x"]))


def _dangling_edge(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def _other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _missing_output(model: onnx.ModelProto) -> None:
    del model.graph.output[-1]


def _training_graph(model: onnx.ModelProto) -> None:
    model.training_info.add()


def _number(model: onnx.ModelProto, name: str, value: object) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    return name


def _huge_claim(model: onnx.ModelProto) -> None:
    """A tensor of 4 TiB without a byte of it."""
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**40]))


def _negative_claim(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="odd", data_type=TensorProto.FLOAT, dims=[-4, -4]))


def _huge_constant(model: onnx.ModelProto) -> None:
    """Sixteen bytes that ask for 4 TiB."""
    model.graph.node.append(helper.make_node("ConstantOfShape", [_number(model, "s", [2**20, 2**20])], ["big"]))


def _huge_by_arithmetic(model: onnx.ModelProto) -> None:
    shape = _number(model, "s", [2**10, 2**10])
    model.graph.node.append(helper.make_node("Mul", [shape, shape], ["product"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["product"], ["big"]))


def _shape_from_numbers(model: onnx.ModelProto) -> None:
    """Arithmetic that shape inference does not follow."""
    shape = _number(model, "s", [2**10, 2**10])
    model.graph.node.append(helper.make_node("Pow", [shape, _number(model, "two", [2, 2])], ["power"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["power"], ["big"]))


def _shape_from_pixels(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("NonZero", ["image"], ["where"]))


def _huge_range(model: onnx.ModelProto) -> None:
    ends = [_number(model, f"end{value}", value) for value in (0, 2**40, 1)]
    model.graph.node.append(helper.make_node("Range", ends, ["big"]))


def _loop(model: onnx.ModelProto) -> None:
    """One that never ends."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])],
        [value("on", TensorProto.BOOL, [])],
    )
    model.graph.node.append(helper.make_node("Loop", ["", _number(model, "yes", True)], [], body=body))


def _branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["one"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("one", TensorProto.FLOAT, [])],
    )
    yes = _number(model, "yes", True)
    model.graph.node.append(helper.make_node("If", [yes], ["out"], then_branch=branch, else_branch=branch))


def _bytes_short_of_the_shape(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-4]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_huge_claim, "not valid ONNX"),
        (_negative_claim, "not valid ONNX"),
        (_huge_constant, "more than 256 MiB"),
        (_huge_by_arithmetic, "more than 256 MiB"),
        (_shape_from_numbers, "computes the shape"),
        (_shape_from_pixels, "computes the shape"),
        (_huge_range, "more than 256 MiB"),
        (_loop, "branches or loops"),
        (_branch, "branches or loops"),
        (_bytes_short_of_the_shape, "not valid ONNX|not of its shape"),
        (_external, "outside its file"),
        (_external_named_only, "outside its file"),
        (_external_in_attribute, "outside its file"),
        (_external_beside, "outside its file"),
        (_external_in_branch, "outside its file"),
        (_sparse_initialiser, "sparse"),
        (_sparse_constant, "sparse"),
        (_foreign_operator, "unknown domain"),
        (_foreign_opset, "unknown domain"),
        (_own_function, "operators of its own"),
        (_training_graph, "training graph"),
        (_nan_weight, "not finite"),
        (_infinite_constant, "not finite"),
        (_unknown_operator, "not valid ONNX"),
        (_dangling_edge, "not valid ONNX"),
        (_other_input, "one input"),
        (_second_input, "one input"),
        (_missing_output, "outputs are not those"),
    ],
)
def test_rejects(change: Callable[[onnx.ModelProto], None], reason: str) -> None:
    """Each kind of network that no runtime may see, with its reason."""
    model = make_network()
    change(model)
    with pytest.raises(BundleRejectedError, match=reason):
        check_graph(model.SerializeToString(), make_fields())


def test_accepts_what_fits() -> None:
    """The tiny network passes, and the outputs asked for are the design's."""
    check_graph(make_network().SerializeToString(), make_fields())
    assert expected_outputs(make_fields()) == {
        "router": (None, 2),
        "statistics": (None, None),
        "logits_chest": (None, 2),
        "maps_chest": (None, 2, None, None),
        "logits_phantom": (None, 3),
        "maps_phantom": (None, 3, None, None),
    }


def test_rejects_another_number_of_channels() -> None:
    """A colour network under a grey preprocessing is a mistake, not an answer."""
    with pytest.raises(BundleRejectedError, match="another shape"):
        check_graph(make_network(channels=3).SerializeToString(), make_fields())


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_rejects_a_cut_file(size: int) -> None:
    """A network cut anywhere is rejected, never a crash."""
    with pytest.raises(BundleRejectedError):
        check_graph(make_network().SerializeToString()[:size], make_fields())


def _nested(levels: int) -> bytes:
    """Graphs in attributes of operators in graphs: fields 1 (node), 5 (attribute), 6 (graph) of onnx.proto."""
    data = b""
    for _ in range(levels):
        for field in (6, 5, 1):
            data = bytes([field << 3 | 2]) + _varint(len(data)) + data
    return make_network().SerializeToString() + b"\x3a" + _varint(len(data)) + data


def _varint(size: int) -> bytes:
    data = b""
    while size > 0x7F:
        data, size = data + bytes([size & 0x7F | 0x80]), size >> 7
    return data + bytes([size])


@pytest.mark.parametrize("levels", [3, 20, 5000])
def test_rejects_deep_nesting(levels: int) -> None:
    """Few levels are branches; many are refused by the parser: no recursion without end, no crash."""
    with pytest.raises(BundleRejectedError):
        check_graph(_nested(levels), make_fields())
