"""How the constants of a TFLite model are stored: in float16, of which XNNPACK makes float32 when it loads a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.flatbuffer import FLOAT32, Graph
from converters.tflite.layers import CHANNEL_AXES

SMALLEST_HALVED_BYTES = 256
"""Of float32. Smaller constants stay as they are: each halved one costs an operator and two tensors."""
BIAS = 2
"""Place of the bias among the inputs of a layer's operator."""
DEQUANTIZE_HALVES = 3
"""Version of DEQUANTIZE that takes float16 (tensorflow/lite/tools/versioning/op_version.cc)."""


def halve(graph: Graph, *, exactly: bool) -> None:
    """Store every large float32 constant of a graph in float16, a DEQUANTIZE behind each, in place.

    exactly: only where that loses nothing. A shipped checkpoint is in float16, so these are its weights; tables of
    positions and what the converter computed beforehand are not. Numbers beyond float16 always stay. Biases stay too:
    XNNPACK refuses a layer whose bias is in float16 and whose weight is not, and they are few.
    """
    made: dict[int, int] = {}
    dequantized: list[Any] = []
    for operator in graph.operators:
        for place, tensor in enumerate(int(i) for i in operator.inputs):
            if tensor < 0 or graph.type(tensor) != FLOAT32 or not graph.is_constant(tensor):
                continue
            if place == BIAS and graph.kind(operator) in CHANNEL_AXES:
                continue
            if tensor not in made:
                values = graph.values(tensor)
                with np.errstate(over="ignore"):
                    half = values.astype(np.float16)
                lossless = np.array_equal(half.astype(np.float32), values)
                fits = lossless or (not exactly and bool(np.isfinite(half).all()))
                if values.nbytes < SMALLEST_HALVED_BYTES or not fits:
                    continue
                made[tensor] = graph.add_tensor(graph.shape(tensor), FLOAT32)
                stored = graph.add_constant(half)
                dequantized.append(
                    graph.operator(
                        "DEQUANTIZE",
                        [stored],
                        [made[tensor]],
                        version=DEQUANTIZE_HALVES,
                        options=schema.DequantizeOptionsT(),
                    )
                )
            changed = np.array(operator.inputs, np.int32)
            changed[place] = made[tensor]
            operator.inputs = changed
    graph.body.operators = [*dequantized, *graph.operators]
