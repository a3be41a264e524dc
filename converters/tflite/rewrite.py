"""Operators that XNNPACK or the GPU delegate leave to slower kernels, in others that they take, to the same values.

Found by running: ai-edge-litert 2.3.0 left RELU_0_TO_1 and products of two activations written as FULLY_CONNECTED out
of the delegate. Each cut a graph in two, and between the parts tensors are copied. The GPU delegate has no products
of a column and a row (`gpu_delegate.py`), and no sums and products of tensors with unequal axes (`axes.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.axes import KEEPS_AXES, level_axes
from converters.tflite.flatbuffer import FLOAT32, Graph


def for_delegates(graph: Graph) -> None:
    """Rewrite a graph in place."""
    operators: list[Any] = []
    for operator in graph.operators:
        kind = graph.kind(operator)
        if kind == "RELU_0_TO_1":
            operators += _clamp(graph, operator)
        elif kind == "FULLY_CONNECTED" and not graph.is_constant(int(operator.inputs[1])):
            operators += _product(graph, operator)
        elif kind == "MUL":
            operators.append(_outer_product(graph, operator))
        else:
            operators.append(operator)
    graph.body.operators = operators
    level_axes(graph)


def _clamp(graph: Graph, operator: Any) -> list[Any]:
    """min(relu(x), 1)."""
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    positive = graph.add_tensor(graph.shape(source), FLOAT32)
    one = graph.add_constant(np.asarray(1, np.float32))
    return [
        graph.operator("RELU", [source], [positive]),
        graph.operator("MINIMUM", [positive, one], [target], options=schema.MaximumMinimumOptionsT()),
    ]


def _product(graph: Graph, operator: Any) -> list[Any]:
    """x W^T of activations x (1, n, k) and W (m, k) as a batched product; a bias or an activation stays as it was."""
    source, weights = int(operator.inputs[0]), int(operator.inputs[1])
    has_bias = len(operator.inputs) > 2 and int(operator.inputs[2]) >= 0
    shape = graph.shape(source)
    if has_bias or operator.builtinOptions.fusedActivationFunction or len(shape) != 3 or shape[0] != 1:
        return [operator]
    rows, inner = graph.shape(weights)
    batched = graph.add_tensor((1, rows, inner), FLOAT32)
    sides = graph.add_constant(np.asarray((1, rows, inner), np.int32))
    return [
        graph.operator(
            "RESHAPE", [weights, sides], [batched], options=schema.ReshapeOptionsT(newShape=[1, rows, inner])
        ),
        graph.operator(
            "BATCH_MATMUL",
            [source, batched],
            [int(operator.outputs[0])],
            options=schema.BatchMatMulOptionsT(adjY=True),
        ),
    ]


def _outer_product(graph: Graph, operator: Any) -> Any:
    """x (1, n, 1) times a constant (1, 1, m) as a matrix product; any other product as it was."""
    column, row = int(operator.inputs[0]), int(operator.inputs[1])
    if graph.is_constant(column):
        column, row = row, column
    wide, tall = graph.shape(row), graph.shape(column)
    if operator.builtinOptions.fusedActivationFunction or not graph.is_constant(row) or len(wide) != 3:
        return operator
    if tall != (1, tall[1] if len(tall) == 3 else 0, 1) or wide[:2] != (1, 1) or wide[2] == 1 or tall[1] == 1:
        return operator
    weights = graph.add_constant(graph.values(row).reshape(-1, 1))
    return graph.operator(
        "FULLY_CONNECTED",
        [column, weights, -1],
        [int(operator.outputs[0])],
        version=KEEPS_AXES,
        options=schema.FullyConnectedOptionsT(keepNumDims=True),
    )
