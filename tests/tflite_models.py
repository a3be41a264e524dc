"""Small TFLite models by hand: what the converter gives takes seconds to make, and cannot be made wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.flatbuffer import FLOAT32, Graph, signature
from sam2lite_mobile.contract import GraphSpec


def empty_model(name: str, inputs: dict[str, tuple[int, ...]]) -> tuple[Graph, dict[str, int]]:
    """A graph without operators, and its inputs by name; `finish` gives it outputs and a signature."""
    model = schema.ModelT(
        version=3,
        operatorCodes=[],
        subgraphs=[schema.SubGraphT(tensors=[], operators=[], name=name)],
        description="by hand",
        buffers=[schema.BufferT()],
        metadata=[],
        signatureDefs=[],
    )
    graph = Graph(model)
    return graph, {each: graph.add_tensor(shape, FLOAT32) for each, shape in inputs.items()}


def finish(graph: Graph, name: str, *, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    """The model, with a signature."""
    graph.body.inputs = np.asarray(list(inputs.values()), np.int32)
    graph.body.outputs = np.asarray(list(outputs.values()), np.int32)
    graph.model.signatureDefs = [
        signature(name, inputs=list(inputs.items()), outputs=list(outputs.items()), subgraph=0)
    ]
    return graph.model


def one_operator(
    kind: str, shape: tuple[int, ...], *constants: np.ndarray, options: Any = None, out: Any = None
) -> Any:
    """A model with one operator on x of this shape and constants behind it; y has the shape `out`, x's if left out."""
    graph, inputs = empty_model("m", {"x": shape})
    y = graph.add_tensor(out or shape, FLOAT32)
    read = [inputs["x"], *(graph.add_constant(values) for values in constants)]
    graph.body.operators = [graph.operator(kind, read, [y], options=options)]
    return finish(graph, "m", inputs=inputs, outputs={"y": y})


def contract_model(spec: GraphSpec) -> Any:
    """A model with the tensors of a graph: each output is its number (from 1) plus 0 times the first input's sum."""
    graph, inputs = empty_model(spec.id, {tensor.name: tensor.shape for tensor in spec.inputs})
    first = spec.inputs[0]
    total, nothing = graph.add_tensor((), FLOAT32), graph.add_tensor((), FLOAT32)
    axes = graph.add_constant(np.arange(len(first.shape), dtype=np.int32))
    zero = graph.add_constant(np.asarray(0, np.float32))
    operators = [
        graph.operator("SUM", [inputs[first.name], axes], [total], options=schema.ReducerOptionsT()),
        graph.operator("MUL", [total, zero], [nothing], options=schema.MulOptionsT()),
    ]
    outputs = {}
    for number, tensor in enumerate(spec.outputs, 1):
        values = graph.add_constant(np.full(tensor.shape, number, np.float32))
        outputs[tensor.name] = graph.add_tensor(tensor.shape, FLOAT32)
        operators.append(graph.operator("ADD", [values, nothing], [outputs[tensor.name]], options=schema.AddOptionsT()))
    graph.body.operators = operators
    return finish(graph, spec.id, inputs=inputs, outputs=outputs)
