"""The form that TensorRT takes: honest models pass the rules, each rule catches its fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.gates import snr_db
from converters.integers import int8_activation
from converters.onnx.export import export
from converters.onnx.quantize import ONNX_RUNTIME, TENSORRT, Form, quantize
from converters.onnx.storage import halve
from converters.onnx.tensorrt import tensorrt_problems
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.errors import ConversionError
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.quantization.ranges import ActivationRange
from tests.converters.conftest import SIZE, Capture, Ranges, Toy

POLICY = precision_policy("w8a8")


def model_of(captured: Capture, ranges: Ranges, graph: str, form: Form = TENSORRT) -> onnx.ModelProto:
    return halve(quantize(export(captured(graph)), graph, GraphPrecision("w8a8", POLICY, ranges), form))


@pytest.fixture(scope="module")
def encoder(captured: Capture, ranges: Ranges) -> bytes:
    return model_of(captured, ranges, "image_encoder").SerializeToString()


@pytest.mark.parametrize("graph", contract.GRAPHS)
def test_every_graph_in_w8a8_keeps_the_rules(captured: Capture, ranges: Ranges, graph: str) -> None:
    assert tensorrt_problems(model_of(captured, ranges, graph)) == []


def test_symmetric_integers_compute_nearly_what_asymmetric_ones_do(
    toy: Toy, encoder: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tensorrt") / "image_encoder_256.onnx"
    path.write_bytes(encoder)
    graph_id = contract.graph_id("image_encoder", SIZE)
    outputs = open_target("tensorrt").execute(path, toy.inputs[graph_id])
    reference = toy.engine.run(graph_id, toy.inputs[graph_id])
    assert snr_db(reference["features"], outputs["features"]) > 15


def test_form_of_onnx_runtime_is_refused(captured: Capture, ranges: Ranges) -> None:
    problems = tensorrt_problems(model_of(captured, ranges, "image_encoder", ONNX_RUNTIME))
    assert any("integers of UINT8" in problem for problem in problems)
    assert any("integers of INT32" in problem for problem in problems)


def unknown_operation(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Einsum9"


def operation_of_another_domain(model: onnx.ModelProto) -> None:
    model.graph.node[-1].domain = "com.microsoft"


def open_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def zero_point_elsewhere(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[2])
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(3, np.int8), tensor.name))


def stray_integers(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.int8), "stray"))


def double_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4), "stray"))


def cubic_resize(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Resize", ["image", "", ""], ["big"], "grow", mode="cubic"))


def averages_apart(model: onnx.ModelProto) -> None:
    model.graph.node.append(
        helper.make_node("AveragePool", ["image"], ["pooled"], "pool", kernel_shape=[2, 2], dilations=[2, 2])
    )


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (unknown_operation, "Einsum9 .*not among the operations"),
        (operation_of_another_domain, "not among the operations"),
        (open_shape, "image has an open shape"),
        (newer_opset, "opset 99 is above"),
        (zero_point_elsewhere, "the zero point has to be 0"),
        (stray_integers, "constant stray is INT8"),
        (double_constant, "constant stray is DOUBLE"),
        (cubic_resize, "Resize grow: only nearest and linear"),
        (averages_apart, "AveragePool pool: dilations"),
    ],
)
def test_each_rule_catches_its_fault(encoder: bytes, sabotage: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = onnx.ModelProto.FromString(encoder)
    sabotage(model)
    target = open_target("tensorrt")
    with pytest.raises(ConversionError, match=message):
        target.check(model, where="image_encoder_256")  # type: ignore[attr-defined]


def test_symmetric_scale_covers_the_larger_bound() -> None:
    scale, zero = int8_activation(ActivationRange(-2.54, 1.0), symmetric=True)
    assert (float(scale), int(zero), zero.dtype) == (pytest.approx(0.02), 0, np.int8)
    assert numpy_helper.from_array(zero, "z").data_type == TensorProto.INT8
