"""TFLite models as objects that can be edited: tensors, constants and operators of one graph.

The classes are those that flatc generates from the schema of TFLite (tensorflow/lite/schema/schema.fbs); ai-edge-litert
ships them. Models of the converter have one subgraph; those that are published have one for every signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

FLOAT32, FLOAT16, INT8, INT32 = (
    schema.TensorType.FLOAT32,
    schema.TensorType.FLOAT16,
    schema.TensorType.INT8,
    schema.TensorType.INT32,
)
_DTYPES: Mapping[int, type[np.generic]] = {FLOAT32: np.float32, FLOAT16: np.float16, INT8: np.int8, INT32: np.int32}
_OPERATORS: Mapping[int, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


class Graph:
    """One subgraph of a model and what it shares with the others: buffers and operator codes.

    Tensors are named by their index, as operators do. Edits append tensors and buffers and replace the list of
    operators; what is left unread goes when models are merged (`merge.py`).
    """

    def __init__(self, model: Any, index: int = 0) -> None:
        self.model = model
        self.body = model.subgraphs[index]
        self._codes: dict[tuple[int, int], int] = {}

    @property
    def operators(self) -> list[Any]:
        """Operators in the order of execution: each follows all that it reads."""
        found: list[Any] = self.body.operators
        return found

    def kind(self, operator: Any) -> str:
        """Name of an operator in the schema, `CONV_2D`."""
        return operator_name(self.model.operatorCodes[operator.opcodeIndex])

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor; () for a scalar."""
        sides = self.body.tensors[tensor].shape
        return () if sides is None else tuple(int(side) for side in sides)

    def type(self, tensor: int) -> int:
        """Type of a tensor, as the schema numbers them."""
        return int(self.body.tensors[tensor].type)

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor's values are in the model."""
        data = self.model.buffers[self.body.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def values(self, tensor: int) -> NDArray[Any]:
        """The values of a constant of float32, float16, int8 or int32, in its shape; read-only."""
        data = bytes(self.model.buffers[self.body.tensors[tensor].buffer].data)
        return np.frombuffer(data, _DTYPES[self.type(tensor)]).reshape(self.shape(tensor))

    def readers(self) -> dict[int, list[Any]]:
        """The operators that read each tensor."""
        found: dict[int, list[Any]] = {}
        for operator in self.operators:
            for tensor in operator.inputs:
                found.setdefault(int(tensor), []).append(operator)
        return found

    def add_tensor(self, shape: tuple[int, ...], kind: int, quantization: Any = None) -> int:
        """The index of a new tensor that an operator will write."""
        made = schema.TensorT(
            shape=np.asarray(shape, np.int32), type=kind, buffer=0, name=b"", quantization=quantization, hasRank=True
        )
        self.body.tensors.append(made)
        return len(self.body.tensors) - 1

    def add_constant(self, values: NDArray[Any], quantization: Any = None) -> int:
        """The index of a new constant of the type of its values."""
        kind = next(number for number, dtype in _DTYPES.items() if values.dtype == dtype)
        tensor = self.add_tensor(values.shape, kind, quantization)
        self.model.buffers.append(schema.BufferT(data=np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)))
        self.body.tensors[tensor].buffer = len(self.model.buffers) - 1
        return tensor

    def operator(
        self, kind: str, inputs: list[int], outputs: list[int], *, version: int = 1, options: Any = None
    ) -> Any:
        """A new operator, not yet among the operators. options: of the schema's class for this kind, or None."""
        name = type(options).__name__.removesuffix("T") if options is not None else "NONE"
        return schema.OperatorT(
            opcodeIndex=self.code(kind, version),
            inputs=np.asarray(inputs, np.int32),
            outputs=np.asarray(outputs, np.int32),
            builtinOptionsType=getattr(schema.BuiltinOptions, name),
            builtinOptions=options,
        )

    def code(self, kind: str, version: int) -> int:
        """Index of an operator code, added where the model has none of this kind and version."""
        wanted = (getattr(schema.BuiltinOperator, kind), version)
        if wanted not in self._codes:
            for index, code in enumerate(self.model.operatorCodes):
                self._codes.setdefault((builtin_code(code), int(code.version)), index)
        if wanted not in self._codes:
            self.model.operatorCodes.append(operator_code(*wanted))
            self._codes[wanted] = len(self.model.operatorCodes) - 1
        return self._codes[wanted]


def builtin_code(code: Any) -> int:
    """Number of an operator; the old field ends at 127, the new one holds all."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def operator_name(code: Any) -> str:
    """Name of an operator code in the schema."""
    return _OPERATORS.get(builtin_code(code), f"operator {builtin_code(code)}")


def operator_code(number: int, version: int) -> Any:
    """An operator code that old and new readers understand."""
    return schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version)


def quantization(scales: NDArray[np.float32], zeros: NDArray[np.int64], *, axis: int = 0) -> Any:
    """real = scale * (integer - zero): one pair for a tensor, or one for each place along `axis`."""
    return schema.QuantizationParametersT(
        scale=np.asarray(scales, np.float32).reshape(-1),
        zeroPoint=np.asarray(zeros, np.int64).reshape(-1),
        quantizedDimension=axis,
    )


def signature(name: str, *, inputs: list[tuple[str, int]], outputs: list[tuple[str, int]], subgraph: int) -> Any:
    """A signature: tensors of a subgraph by name."""
    return schema.SignatureDefT(
        inputs=[schema.TensorMapT(each, tensor) for each, tensor in inputs],
        outputs=[schema.TensorMapT(each, tensor) for each, tensor in outputs],
        signatureKey=name,
        subgraphIndex=subgraph,
    )


def unpack(data: bytes) -> Any:
    """The model that bytes of ours hold."""
    return schema.ModelT.InitFromPackedBuf(data, 0)
