"""Several TFLite models in one: a subgraph and a signature for each, equal constants once, canonical bytes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.flatbuffer import Graph, builtin_code, operator_code, signature
from converters.tflite.packing import pack
from sam2lite_mobile.engines.tflite_engine import RECIPE_METADATA

SCHEMA_VERSION = 3


def merge(models: Sequence[Any], *, description: str, recipe: str) -> bytes:
    """The bytes of one model with the signatures of all, in this order; the same models give the same bytes.

    Each model has one subgraph and one signature. Tensors and operators that nothing reads are left out, names but
    those of signatures too: the converter's are long and say how the student's code is laid out.
    recipe: precision, in the metadata `RECIPE_METADATA`.
    """
    merged = _Merged()
    for model in models:
        merged.add(model)
    return pack(merged.model(description, recipe))


class _Merged:
    """Subgraphs, buffers and operator codes as they come."""

    def __init__(self) -> None:
        self._buffers: list[bytes] = [b""]  # buffer 0 is that of tensors without constants
        self._places: dict[str, int] = {}
        self._codes: dict[tuple[int, int], int] = {}
        self._subgraphs: list[Any] = []
        self._signatures: list[Any] = []

    def add(self, model: Any) -> None:
        """Take in a model of one subgraph; it stays as it is."""
        graph = Graph(model)
        signed = model.signatureDefs[0]
        name = _text(signed.signatureKey)
        inputs = [int(entry.tensorIndex) for entry in signed.inputs]
        outputs = [int(entry.tensorIndex) for entry in signed.outputs]
        order = _read_tensors(graph, inputs)
        names = {int(e.tensorIndex): _text(e.name) for e in (*signed.inputs, *signed.outputs)}
        self._subgraphs.append(
            schema.SubGraphT(
                tensors=[self._tensor(graph, tensor, names.get(tensor, str(place))) for tensor, place in order.items()],
                inputs=np.asarray([order[tensor] for tensor in inputs], np.int32),
                outputs=np.asarray([order[tensor] for tensor in outputs], np.int32),
                operators=[self._operator(graph, operator, order) for operator in graph.operators],
                name=name,
            )
        )
        self._signatures.append(
            signature(
                name,
                inputs=[(_text(e.name), order[int(e.tensorIndex)]) for e in signed.inputs],
                outputs=[(_text(e.name), order[int(e.tensorIndex)]) for e in signed.outputs],
                subgraph=len(self._subgraphs) - 1,
            )
        )

    def model(self, description: str, recipe: str) -> Any:
        """All of it as a model."""
        metadata = schema.MetadataT(name=RECIPE_METADATA, buffer=self._place(recipe.encode()))
        return schema.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[operator_code(*code) for code in self._codes],
            subgraphs=self._subgraphs,
            description=description,
            buffers=[schema.BufferT(data=data or None) for data in self._buffers],
            metadata=[metadata],
            signatureDefs=self._signatures,
        )

    def _tensor(self, graph: Graph, tensor: int, name: str) -> Any:
        made = copy.copy(graph.body.tensors[tensor])
        made.name = name
        made.buffer = 0
        if graph.is_constant(tensor):
            made.buffer = self._place(bytes(graph.model.buffers[graph.body.tensors[tensor].buffer].data))
        return made

    def _operator(self, graph: Graph, operator: Any, order: dict[int, int]) -> Any:
        code = graph.model.operatorCodes[operator.opcodeIndex]
        wanted = (builtin_code(code), int(code.version))
        made = copy.copy(operator)
        made.opcodeIndex = self._codes.setdefault(wanted, len(self._codes))
        made.inputs = np.asarray([order[int(i)] if i >= 0 else -1 for i in operator.inputs], np.int32)
        made.outputs = np.asarray([order[int(i)] for i in operator.outputs], np.int32)
        made.debugMetadataIndex = -1
        return made

    def _place(self, data: bytes) -> int:
        key = hashlib.sha256(data).hexdigest()
        if key not in self._places:
            self._buffers.append(data)
            self._places[key] = len(self._buffers) - 1
        return self._places[key]


def _read_tensors(graph: Graph, inputs: Sequence[int]) -> dict[int, int]:
    """The place of each tensor that is read or written, inputs first, then as the operators come to them."""
    order: dict[int, int] = {}
    for tensor in (*inputs, *(int(i) for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0)):
        order.setdefault(tensor, len(order))
    return order


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
