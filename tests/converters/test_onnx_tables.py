"""Tables of ONNX models: smaller where rows and columns say it all, to the last bit, and taken by both runtimes."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converters.onnx.export import export
from converters.onnx.tables import factor_tables
from converters.onnx.tensorrt import tensorrt_problems
from sam2lite_mobile.student.constants import gaussian_code, pattern_place, sine_code
from tests.converters.conftest import Capture

RNG = np.random.default_rng(5)


def model_of(table: NDArray[np.float32]) -> onnx.ModelProto:
    """x + table."""
    node = helper.make_node("Add", ["x", "table"], ["y"])
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, table.shape) for name in "xy"]
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:], [numpy_helper.from_array(table, "table")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def constants_bytes(model: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


@pytest.mark.parametrize("table", [sine_code(19, 64), pattern_place(19)], ids=["positions", "places"])
def test_tables_of_the_student_are_made_up_of_rows_and_columns(table: NDArray[np.float32]) -> None:
    model = model_of(table)
    before = copy.deepcopy(model)
    factor_tables(model)
    onnx.checker.check_model(model, full_check=True)
    x = RNG.normal(size=table.shape).astype(np.float32)
    assert np.array_equal(run(model, x), run(before, x))
    assert constants_bytes(model) < constants_bytes(before) / 9
    assert tensorrt_problems(model) == tensorrt_problems(before)


def one_value_off() -> NDArray[np.float32]:
    table = sine_code(16, 64)
    table[37, 5] += 1
    return table


@pytest.mark.parametrize(
    "table",
    [
        one_value_off(),
        pattern_place(16) * 3,
        np.broadcast_to(np.eye(64, dtype=np.float32), (1, 4, 64, 64)).copy(),
        RNG.normal(size=(16 * 17, 64)).astype(np.float32),
        gaussian_code(16)[:, :16].copy(),
        sine_code(4, 64),
    ],
    ids=["one value off", "not of 0 and 1", "no product", "no square", "rows and columns mixed", "small"],
)
def test_other_tables_stay(table: NDArray[np.float32]) -> None:
    model = model_of(table)
    before = model.SerializeToString(deterministic=True)
    factor_tables(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(("graph", "bound"), [("image_encoder", 1), ("mask_decoder", 2)])
def test_tables_of_exported_graphs_are_found(captured: Capture, graph: str, bound: int) -> None:
    """The names that the exporter gives do not matter, and none is left behind."""
    model = export(captured(graph))
    factor_tables(model)
    names = [node.name for node in model.graph.node if node.name.endswith((".flat", ".placed"))]
    assert len(names) == bound
