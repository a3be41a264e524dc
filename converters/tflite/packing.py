"""A TFLite model to bytes in which equal parts lie once: strings, lists, units of quantization, operators, tensors.

Tables of a flatbuffer point to each other, and two may point to the same one. Six sizes of a graph have the same
operators but for some constants; a weight of a thousand channels has as many scales, and so has its bias, at each size.
"""

from __future__ import annotations

import copy
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.tflite.flatbuffer import quantization

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Bytes: `force_align` of Buffer.data in the schema. The generated classes align by the size of an element, 1."""
SPARE_BYTES = 2**20
"""What a builder starts with beyond the constants; it grows where that is too little."""


def pack(model: Any) -> bytes:
    """The bytes of a model: the same for the same model. The model stays as it is."""
    packed = copy.copy(model)
    packed.buffers = [_Buffer(data=buffer.data) for buffer in model.buffers]
    packed.subgraphs = [_with_parts_shared(body) for body in model.subgraphs]
    builder = _Builder(sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None) + SPARE_BYTES)
    builder.Finish(packed.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _with_parts_shared(body: Any) -> Any:
    shared = copy.copy(body)
    shared.tensors = [_Once(_tensor(tensor)) for tensor in body.tensors]
    shared.operators = [_Once(_operator(operator)) for operator in body.operators]
    return shared


def _tensor(tensor: Any) -> Any:
    made, unit = copy.copy(tensor), tensor.quantization
    known = unit is not None and unit.scale is not None
    made.quantization = (
        _Once(quantization(unit.scale, unit.zeroPoint, axis=int(unit.quantizedDimension))) if known else None
    )
    return made


def _operator(operator: Any) -> Any:
    made = copy.copy(operator)
    made.builtinOptions = None if operator.builtinOptions is None else _Once(operator.builtinOptions)
    return made


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that knows what it has written, by its content."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.written: dict[Any, int] = {}

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        """The place of a string."""
        key = ("string", s.encode(encoding, errors) if isinstance(s, str) else s)
        if key not in self.written:
            self.written[key] = int(super().CreateString(key[1]))
        return self.written[key]

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        """The place of a list of numbers."""
        key = _content(x)
        if key not in self.written:
            self.written[key] = int(super().CreateNumpyVector(x))
        return self.written[key]


class _Once:
    """A table that is written where it comes first; one with the same content points there."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def Pack(self, builder: _Builder) -> int:  # noqa: N802 - the generated classes call it so
        key = _content(self.table)
        if key not in builder.written:
            builder.written[key] = int(self.table.Pack(builder))
        return builder.written[key]


def _content(value: Any) -> Any:
    """What a part of a model is, as a key: kind and values of its fields, down to numbers."""
    if isinstance(value, _Once):
        return _content(value.table)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, list):
        return tuple(_content(each) for each in value)
    if hasattr(value, "__dict__"):
        return (type(value).__name__, *((name, _content(each)) for name, each in sorted(vars(value).items())))
    return value


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data starts at a multiple of ALIGNMENT, as the schema asks."""

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated classes call it so
        if self.data is not None and len(self.data):
            content = bytes(self.data)
            builder.StartVector(1, len(content), ALIGNMENT)
            builder.head = builder.Head() - len(content)
            builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if self.data is not None and len(self.data):
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))
