"""TFLite's delegates: what they leave out is refused, and what is rewritten for them gives the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.tflite.flatbuffer import FLOAT32, Graph
from converters.tflite.gpu_delegate import gpu_problems
from converters.tflite.packing import pack
from converters.tflite.rewrite import for_delegates
from converters.tflite.target import require_delegated
from converters.tflite.xnnpack import placement
from sam2lite_mobile.errors import ConversionError, GateError
from tests.tflite_models import empty_model, finish, one_operator

RNG = np.random.default_rng(0)


def executed(model: bytes, x: np.ndarray) -> np.ndarray:
    result: np.ndarray = Interpreter(model_content=model, num_threads=1).get_signature_runner()(x=x)["y"]
    return result


def product_of_activations() -> Any:
    """y = x W^T where W is computed from x: what the converter makes of some batched products."""
    graph, inputs = empty_model("m", {"x": (1, 6, 4)})
    doubled, weights, y = (graph.add_tensor(shape, FLOAT32) for shape in ((1, 6, 4), (6, 4), (1, 6, 6)))
    two, sides = graph.add_constant(np.asarray(2, np.float32)), graph.add_constant(np.asarray((6, 4), np.int32))
    graph.body.operators = [
        graph.operator("MUL", [inputs["x"], two], [doubled], options=schema.MulOptionsT()),
        graph.operator("RESHAPE", [doubled, sides], [weights], options=schema.ReshapeOptionsT(newShape=[6, 4])),
        graph.operator(
            "FULLY_CONNECTED",
            [inputs["x"], weights, -1],
            [y],
            version=5,
            options=schema.FullyConnectedOptionsT(keepNumDims=True),
        ),
    ]
    return finish(graph, "m", inputs=inputs, outputs={"y": y})


@pytest.mark.parametrize(
    ("model", "kind"),
    [(one_operator("RELU_0_TO_1", (1, 4, 4, 2)), "RELU_0_TO_1"), (product_of_activations(), "FULLY_CONNECTED")],
)
def test_node_that_xnnpack_leaves_out_is_refused_and_rewritten_to_the_same_values(model: Any, kind: str) -> None:
    before = pack(model)
    found = placement(before)
    assert [name.split()[0] for name in found.outside] == [kind]
    with pytest.raises(GateError, match=rf"m on the XNNPACK delegate: expected all of \d nodes.*got 1 outside.*{kind}"):
        require_delegated(before, where="m")
    for_delegates(Graph(model))
    after = pack(model)
    assert placement(after).outside == ()
    require_delegated(after, where="m")
    x = RNG.normal(size=Graph(model).shape(0)).astype(np.float32)
    assert executed(after, x) == pytest.approx(executed(before, x), rel=1e-6, abs=1e-6)


def test_outer_product_is_refused_for_the_gpu_and_rewritten_to_the_same_values() -> None:
    model = one_operator(
        "MUL", (1, 8, 1), np.ones((1, 1, 6), np.float32) * 3, options=schema.MulOptionsT(), out=(1, 8, 6)
    )
    before = pack(model)
    with pytest.raises(ConversionError, match=r"m for the GPU delegate.*MUL \(operator 0\): an outer product"):
        require_delegated(before, where="m")
    for_delegates(Graph(model))
    require_delegated(pack(model), where="m")
    x = RNG.normal(size=(1, 8, 1)).astype(np.float32)
    assert np.array_equal(executed(pack(model), x), executed(before, x))


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_table_with_fewer_axes_is_refused_for_the_gpu_and_given_as_many(kind: str) -> None:
    model = one_operator(kind, (1, 8, 6), RNG.normal(size=(8, 6)).astype(np.float32))
    model.subgraphs[0].operators[0].builtinOptions = schema.AddOptionsT() if kind == "ADD" else schema.MulOptionsT()
    before = pack(model)
    with pytest.raises(ConversionError, match=rf"{kind} \(operator 0\): unequal axes: \[1, 8, 6\] and \[8, 6\]"):
        require_delegated(before, where="m")
    for_delegates(Graph(model))
    require_delegated(pack(model), where="m")
    x = RNG.normal(size=(1, 8, 6)).astype(np.float32)
    assert np.array_equal(executed(pack(model), x), executed(before, x))


def layer_and_table() -> Any:
    """y = (x W^T) * table, the layer's output (6, 4) and the table (1, 6, 4): what the converter makes of layers."""
    graph, inputs = empty_model("m", {"x": (1, 6, 3)})
    products, y = graph.add_tensor((6, 4), FLOAT32), graph.add_tensor((1, 6, 4), FLOAT32)
    weights, table = (graph.add_constant(RNG.normal(size=shape).astype(np.float32)) for shape in ((4, 3), (1, 1, 4)))
    graph.body.operators = [
        graph.operator(
            "FULLY_CONNECTED", [inputs["x"], weights, -1], [products], options=schema.FullyConnectedOptionsT()
        ),
        graph.operator("MUL", [products, table], [y], options=schema.MulOptionsT()),
    ]
    return finish(graph, "m", inputs=inputs, outputs={"y": y})


def sum_of_activations() -> Any:
    """y = x + (the sum of x over its first axis), of 3 and 2 axes."""
    graph, inputs = empty_model("m", {"x": (2, 6, 3)})
    total, y = graph.add_tensor((6, 3), FLOAT32), graph.add_tensor((2, 6, 3), FLOAT32)
    axes = graph.add_constant(np.asarray((0,), np.int32))
    graph.body.operators = [
        graph.operator("SUM", [inputs["x"], axes], [total], options=schema.ReducerOptionsT()),
        graph.operator("ADD", [total, inputs["x"]], [y], options=schema.AddOptionsT()),
    ]
    return finish(graph, "m", inputs=inputs, outputs={"y": y})


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (layer_and_table(), ["FULLY_CONNECTED", "MUL"]),
        (sum_of_activations(), ["SUM", "RESHAPE", "ADD"]),
    ],
)
def test_activation_with_fewer_axes_is_refused_for_the_gpu_and_given_as_many(model: Any, kinds: list[str]) -> None:
    before = pack(model)
    with pytest.raises(ConversionError, match=r"m for the GPU delegate.*unequal axes"):
        require_delegated(before, where="m")
    for_delegates(Graph(model))
    graph = Graph(model)
    assert [graph.kind(operator) for operator in graph.operators] == kinds
    require_delegated(pack(model), where="m")
    x = RNG.normal(size=graph.shape(0)).astype(np.float32)
    assert np.array_equal(executed(pack(model), x), executed(before, x))


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (one_operator("ROUND", (1, 4)), "ROUND (operator 0): not among the operations"),
        (
            one_operator("RESHAPE", (1, 4), np.asarray((1, 1, 1, 2, 2), np.int32), out=(1, 1, 1, 2, 2)),
            "5 axes: [1, 1, 1, 2, 2]",
        ),
        (one_operator("ABS", (1, -1)), "an open shape"),
        (
            one_operator("SLICE", (4, 4), np.asarray((0, 0), np.int32), np.asarray((2, 2), np.int32), out=(2, 2)),
            "a cut of 2 axes",
        ),
        (one_operator("PAD", (1, 4), np.asarray(((0, 0), (1, 1)), np.int32), out=(1, 6)), "paddings"),
        (
            one_operator(
                "RESIZE_BILINEAR",
                (1, 2, 2, 1),
                np.asarray((4, 4), np.int32),
                options=schema.ResizeBilinearOptionsT(alignCorners=True, halfPixelCenters=True),
                out=(1, 4, 4, 1),
            ),
            "aligned corners",
        ),
        (one_operator("SUM", (1, 4), np.asarray((1,), np.float32), out=(1,)), "axes that are no int32 constant"),
        (one_operator("ADD", (2, 3, 4, 5), np.ones((3, 4, 5), np.float32)), "unequal axes"),
        (one_operator("MUL", (1, 3, 4, 5), np.ones((4, 5), np.float32)), "unequal axes"),
    ],
)
def test_rule_of_the_gpu_delegate_that_is_broken_is_named(model: Any, fault: str) -> None:
    assert any(fault in problem for problem in gpu_problems(Graph(model))), gpu_problems(Graph(model))


def test_sound_operators_break_no_rule_of_the_gpu_delegate() -> None:
    assert gpu_problems(Graph(one_operator("RSQRT", (1, 4, 4, 2)))) == []
    for shape in ((1, 1, 6), (6,), ()):
        assert gpu_problems(Graph(one_operator("MUL", (1, 8, 6), np.ones(shape, np.float32)))) == []
    for shape in ((3, 4, 5), (1, 5), (1, 1)):
        assert gpu_problems(Graph(one_operator("ADD", (1, 3, 4, 5), np.ones(shape, np.float32)))) == []
