"""The operations of an ONNX model, read back from its file."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto

from converters.operations import Operation, Operations

LAYERS = ("Conv", "Gemm", "MatMul")
SILENT = ("Constant", "Cast", "QuantizeLinear", "DequantizeLinear")
"""Constants, and changes of type: what they change to is said of the operations that read it."""
LAYER_PRODUCT = "Gemm"
"""How a product with a constant is called here: a linear layer, whichever of MatMul and Gemm the exporter chose."""
_TYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.INT8: "int8"}


def operations(path: Path) -> Operations:
    """What the model at `path` computes with: float32, and integers between QuantizeLinear and DequantizeLinear.

    Weights that are in a file beside the model need not be there: types are in the model.
    """
    model = onnx.load(path, load_external_data=False)
    made = {name: node for node in model.graph.node for name in node.output}
    stored = {each.name: _TYPES.get(each.data_type, "other") for each in model.graph.initializer}
    found = Operations()
    for node in model.graph.node:
        if node.op_type in SILENT:
            continue
        weights = _stored_in(node.input[1], made, stored) if node.op_type in LAYERS else ""
        name = LAYER_PRODUCT if node.op_type == "MatMul" and weights else node.op_type
        source = made.get(node.input[0]) if node.input else None
        rounded = bool(weights) and source is not None and source.op_type == "DequantizeLinear"
        found[Operation(name, weights, "int8" if rounded else "float32")] += 1
    return found


def _stored_in(name: str, made: dict[str, onnx.NodeProto], stored: dict[str, str]) -> str:
    """What a constant is stored in, behind the node that turns it into float32; "" for what is no constant."""
    if name in stored:
        return stored[name]
    node = made.get(name)
    if node is not None and node.op_type in ("DequantizeLinear", "Cast"):
        return _stored_in(node.input[0], made, stored)
    return ""
