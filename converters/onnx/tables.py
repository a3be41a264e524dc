"""Large tables of a graph as what their rows and columns give: each input size has tables of its own.

ONNX Runtime and TensorRT compute what depends on constants alone once, while they load a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converters.tables import placing_factors, position_terms

SMALLEST_TABLE_BYTES = 16384
"""Of float32. A smaller table is not worth its nodes."""


def factor_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with two kinds of tables as small constants and the nodes that make them up, in place: the same bits.

    A placing table (1, n, h, w) of 0 and 1 is rows (1, n, h, 1) times columns (1, n, 1, w). A position table (g * g, c)
    whose channels each depend on the row or on the column of a g x g grid alone is rows (g, 1, c) plus columns
    (1, g, c), each 0 in the channels of the other.
    """
    graph = model.graph
    kept: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        made = list(_made_up(tensor))
        kept += [part for part in made if isinstance(part, TensorProto)] or [tensor]
        nodes += [part for part in made if isinstance(part, onnx.NodeProto)]
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return model


def _made_up(tensor: TensorProto) -> Iterator[TensorProto | onnx.NodeProto]:
    """The constants and nodes that give a table back; nothing where it has neither form."""
    if tensor.data_type != TensorProto.FLOAT or 4 * math.prod(tensor.dims) < SMALLEST_TABLE_BYTES:
        return
    name, values = tensor.name, numpy_helper.to_array(tensor)
    rows, columns = f"{name}.rows", f"{name}.columns"
    if (factors := placing_factors(values)) is not None:
        yield from _constants({rows: factors[0], columns: factors[1]})
        yield helper.make_node("Mul", [rows, columns], [name], f"{name}.placed")
    elif (terms := position_terms(values)) is not None:
        grid, shape = f"{name}.grid", f"{name}.shape"
        yield from _constants({rows: terms[0], columns: terms[1], shape: np.asarray(values.shape, np.int64)})
        yield helper.make_node("Add", [rows, columns], [grid], grid)
        yield helper.make_node("Reshape", [grid, shape], [name], f"{name}.flat")


def _constants(arrays: dict[str, NDArray[Any]]) -> Iterator[TensorProto]:
    for name, values in arrays.items():
        yield numpy_helper.from_array(np.ascontiguousarray(values), name)
