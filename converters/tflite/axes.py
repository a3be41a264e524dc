"""Sums and products whose two tensors have as many axes: the GPU delegate broadcasts next to nothing else.

Its rule is in `gpu_delegate.py`. What TFLite broadcasts by putting sides of 1 in front is given them here beforehand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.flatbuffer import FLOAT32, Graph
from converters.tflite.gpu_delegate import broadcasts

KEEPS_AXES = 5
"""Version of FULLY_CONNECTED whose output may have the axes of its input (tflite/tools/versioning/op_version.cc)."""


def level_axes(graph: Graph) -> None:
    """Change a graph in place; its values stay as they are, and so do the shapes of its borders."""
    _keep_axes_of_layers(graph)
    levelled: dict[tuple[int, int], int] = {}
    operators: list[Any] = []
    for operator in graph.operators:
        if graph.kind(operator) in ("ADD", "MUL"):
            tensors = [int(i) for i in operator.inputs]
            shapes = [graph.shape(i) for i in tensors]
            if not broadcasts(*shapes):
                place = int(len(shapes[1]) < len(shapes[0]))
                wanted = (tensors[place], max(map(len, shapes)))
                if wanted not in levelled:
                    levelled[wanted], made = _with_axes(graph, *wanted)
                    operators += made
                tensors[place] = levelled[wanted]
                operator.inputs = np.array(tensors, np.int32)
        operators.append(operator)
    graph.body.operators = operators


def _keep_axes_of_layers(graph: Graph) -> None:
    """Linear layers on x (1, n, k) give (1, n, m) in place of (n, m), where all that read them take either."""
    borders = {int(i) for i in graph.body.outputs}
    readers = graph.readers()
    for operator in graph.operators:
        if graph.kind(operator) != "FULLY_CONNECTED":
            continue
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        shape = graph.shape(source)
        if len(shape) != 3 or shape[0] != 1 or len(graph.shape(target)) != 2 or target in borders:
            continue
        if all(graph.kind(reader) in ("ADD", "MUL", "RESHAPE") for reader in readers.get(target, [])):
            operator.builtinOptions.keepNumDims = True
            operator.opcodeIndex = graph.code("FULLY_CONNECTED", KEEPS_AXES)
            graph.body.tensors[target].shape = np.asarray((1, *graph.shape(target)), np.int32)


def _with_axes(graph: Graph, tensor: int, axes: int) -> tuple[int, list[Any]]:
    """A tensor with sides of 1 in front, and the operators that make it: none for a constant."""
    shape = graph.shape(tensor)
    wanted = (1,) * (axes - len(shape)) + shape
    if graph.is_constant(tensor) and graph.type(tensor) == FLOAT32:
        return graph.add_constant(graph.values(tensor).reshape(wanted)), []
    made, sides = graph.add_tensor(wanted, graph.type(tensor)), graph.add_constant(np.asarray(wanted, np.int32))
    options = schema.ReshapeOptionsT(newShape=list(wanted))
    return made, [graph.operator("RESHAPE", [tensor, sides], [made], options=options)]
