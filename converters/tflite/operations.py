"""The operations of a TFLite model, read back from its file."""

from __future__ import annotations

from pathlib import Path

from converters.operations import Operation, Operations
from converters.tflite.flatbuffer import FLOAT16, FLOAT32, INT8, Graph, unpack
from converters.tflite.layers import CHANNEL_AXES

SILENT = ("QUANTIZE", "DEQUANTIZE", "CAST")
"""Changes of type: what they change to is said of the operators that read it."""
_TYPES = {FLOAT32: "float32", FLOAT16: "float16", INT8: "int8"}


def operations(path: Path) -> Operations:
    """What the model at `path` computes with, over all of its subgraphs."""
    model = unpack(path.read_bytes())
    found = Operations()
    for index in range(len(model.subgraphs)):
        graph = Graph(model, index)
        writers = {int(tensor): operator for operator in graph.operators for tensor in operator.outputs}
        for operator in graph.operators:
            kind = graph.kind(operator)
            if kind in SILENT:
                continue
            read = [int(tensor) for tensor in operator.inputs if tensor >= 0]
            values = _TYPES.get(graph.type(read[0]), "other") if read else "float32"
            weights = ""
            if kind in CHANNEL_AXES and len(read) > 1:
                weight = read[1]
                if not graph.is_constant(weight) and weight in writers:  # behind the operator that turns it to float
                    weight = int(writers[weight].inputs[0])
                weights = _TYPES.get(graph.type(weight), "other") if graph.is_constant(weight) else ""
            found[Operation(kind, weights, values)] += 1
    return found
