"""How the constants of a TFLite model are stored: in float16 or int8, of which XNNPACK makes float32 while it loads."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.tflite.flatbuffer import FLOAT32, Graph, quantization
from converters.tflite.layers import CHANNEL_AXES
from converters.tflite.tables import added_tables

SMALLEST_STORED_BYTES = 256
"""Of float32. Smaller constants stay as they are: each other one costs an operator and two tensors."""
BIAS = 2
"""Place of the bias among the inputs of a layer's operator."""
INTEGER_MAX = 127
DEQUANTIZE_INTEGERS, DEQUANTIZE_HALVES = 2, 3
"""Versions of DEQUANTIZE that take int8 and float16 (tflite/tools/versioning/op_version.cc)."""


def narrow(graph: Graph, *, exactly: bool, integer_tables: bool = False) -> None:
    """Store the large float32 constants of a graph in float16 or int8, a DEQUANTIZE behind each, in place.

    exactly: only where that loses nothing. A shipped checkpoint is in float16, so these are its weights; tables of
    positions and what the converter computed beforehand are not. Tables of whole numbers, such as those of 0 and 1 that
    put a pattern in its place, are int8 in either case. Numbers beyond float16 always stay. Biases stay too: XNNPACK
    refuses a layer whose bias is in float16 and whose weight is not, and they are few.
    integer_tables: what is added to tokens, as positions are, is rounded to int8, in steps of a 127th of its largest
    value; for graphs whose layers round these sums to int8 anyway.
    """
    added = set(added_tables(graph)) if integer_tables else set()
    made: dict[int, int] = {}
    stored: list[Any] = []
    for operator in graph.operators:
        layer = graph.kind(operator) in CHANNEL_AXES
        for place, tensor in enumerate(int(i) for i in operator.inputs):
            if tensor < 0 or graph.type(tensor) != FLOAT32 or not graph.is_constant(tensor):
                continue
            if layer and place == BIAS:
                continue
            if tensor not in made:
                values = graph.values(tensor)
                restored = (
                    _rounded(graph, values)
                    if tensor in added
                    else _restored(graph, values, exactly=exactly, whole=not layer)
                )
                if restored is None:
                    continue
                stored.append(restored)
                made[tensor] = int(restored.outputs[0])
            changed = np.array(operator.inputs, np.int32)
            changed[place] = made[tensor]
            operator.inputs = changed
    graph.body.operators = [*stored, *graph.operators]


def _restored(graph: Graph, values: NDArray[np.float32], *, exactly: bool, whole: bool) -> Any:
    """The operator that gives a constant back from a narrower one, or None where it stays. whole: int8 is allowed."""
    if values.nbytes < SMALLEST_STORED_BYTES:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        half, integers = values.astype(np.float16), values.astype(np.int8)
    if whole and np.array_equal(integers.astype(np.float32), values):
        return _back(graph, graph.add_constant(integers, _step(1)), DEQUANTIZE_INTEGERS)
    if np.array_equal(half.astype(np.float32), values) or (not exactly and bool(np.isfinite(half).all())):
        return _back(graph, graph.add_constant(half), DEQUANTIZE_HALVES)
    return None


def _rounded(graph: Graph, values: NDArray[np.float32]) -> Any:
    """The operator that gives a table back from int8, to half a step."""
    step = np.float32(np.abs(values).max() / INTEGER_MAX)
    integers = np.rint(values / step).astype(np.int8)
    return _back(graph, graph.add_constant(integers, _step(step)), DEQUANTIZE_INTEGERS)


def _step(size: float | np.float32) -> Any:
    return quantization(np.full(1, size, np.float32), np.zeros(1, np.int64))


def _back(graph: Graph, constant: int, version: int) -> Any:
    back = graph.add_tensor(graph.shape(constant), FLOAT32)
    return graph.operator("DEQUANTIZE", [constant], [back], version=version, options=schema.DequantizeOptionsT())
