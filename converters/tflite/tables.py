"""Large tables of a graph: placing tables as two factors, and which tables are added to the tokens.

Each input size has tables of its own, so at six sizes they weigh as much as a quarter of the int8 weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.tables import placing_factors
from converters.tflite.flatbuffer import FLOAT32, Graph

SMALLEST_TABLE_BYTES = 4096
"""Of float32. A smaller table is not worth an operator."""


def factor_placing(graph: Graph) -> None:
    """Multiply by the rows, then by the columns of a 0/1 table that is the product of both, in place.

    x (1, n, h, w) times a table (1, n, h, w) becomes x times (1, n, h, 1) times (1, n, 1, w): the same bits, since each
    factor is 0 or 1.
    """
    operators: list[Any] = []
    for operator in graph.operators:
        factors = _factors(graph, operator)
        if factors is None:
            operators.append(operator)
            continue
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        between = graph.add_tensor(graph.shape(source), FLOAT32)
        operators += [
            graph.operator("MUL", [source, graph.add_constant(factors[0])], [between], options=schema.MulOptionsT()),
            graph.operator("MUL", [between, graph.add_constant(factors[1])], [target], options=schema.MulOptionsT()),
        ]
    graph.body.operators = operators


def _factors(graph: Graph, operator: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    if graph.kind(operator) != "MUL" or operator.builtinOptions.fusedActivationFunction:
        return None
    source, table = (int(i) for i in operator.inputs)
    if graph.type(table) != FLOAT32 or not graph.is_constant(table) or graph.shape(table) != graph.shape(source):
        return None
    values = graph.values(table)
    return placing_factors(values) if values.nbytes >= SMALLEST_TABLE_BYTES else None


def added_tables(graph: Graph) -> Iterator[int]:
    """The float32 constants with a row for each token that are added to values, and do nothing else."""
    for tensor, readers in graph.readers().items():
        if tensor < 0 or graph.type(tensor) != FLOAT32 or not graph.is_constant(tensor):
            continue
        large = graph.values(tensor).nbytes >= SMALLEST_TABLE_BYTES and sum(n > 1 for n in graph.shape(tensor)) > 1
        if large and all(graph.kind(reader) == "ADD" for reader in readers):
            yield tensor
