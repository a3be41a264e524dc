"""What the ONNX parser of TensorRT takes, as far as it can be known without TensorRT.

Source of the list and of every rule: docs/operators.md of github.com/onnx/onnx-tensorrt, as of TensorRT 10.15; the same
page as of 8.5 had neither LayerNormalization nor Gelu. On quantization, also
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIGHEST_OPSET = 24
OPERATIONS = frozenset(
    "Abs Add AveragePool Cast Clip Concat Constant Conv ConvTranspose Cos DequantizeLinear Div Erf Exp Expand Gather "
    "Gelu Gemm Identity LayerNormalization Log MatMul Max MaxPool Min Mul Neg Pad Pow QuantizeLinear Reciprocal "
    "ReduceMax ReduceMean ReduceSum Relu Reshape Resize Shape Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tanh "
    "Transpose Unsqueeze Where".split()
)
"""Of the supported operations, those that a student may come to use."""
TYPES = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL))
RESIZE_MODES = (b"nearest", b"linear")
RESIZE_COORDINATES = (b"half_pixel", b"pytorch_half_pixel", b"asymmetric", b"align_corners")


def tensorrt_problems(model: onnx.ModelProto) -> list[str]:
    """Everything in a model that breaks a rule, in words; empty where TensorRT should take it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    problems = []
    if model.opset_import[0].version > HIGHEST_OPSET:
        problems.append(f"opset {model.opset_import[0].version} is above {HIGHEST_OPSET}")
    for value in (*model.graph.input, *model.graph.output):
        if not all(axis.dim_value > 0 for axis in value.type.tensor_type.shape.dim):
            problems.append(f"{value.name} has an open shape")
    quantized = _quantized_constants(model)
    for name, tensor in constants.items():
        allowed = name in quantized if tensor.data_type == TensorProto.INT8 else tensor.data_type in TYPES
        if not allowed:
            problems.append(f"constant {name} is {TensorProto.DataType.Name(tensor.data_type)}")
    for node in model.graph.node:
        problems += [f"{node.op_type} {node.name}: {fault}" for fault in _faults(node, constants)]
    return problems


def _quantized_constants(model: onnx.ModelProto) -> set[str]:
    """Constants that may be int8: those that are dequantized, and zero points."""
    quantizing = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zero_points = {node.input[2] for node in quantizing if len(node.input) > 2}
    return zero_points | {node.input[0] for node in quantizing if node.op_type == "DequantizeLinear"}


def _faults(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> Iterator[str]:
    if node.domain or node.op_type not in OPERATIONS:
        yield "not among the operations"
        return
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from _quantization_faults(node, constants)
    elif node.op_type == "Resize":
        if attributes.get("mode", b"nearest") not in RESIZE_MODES or attributes.get("antialias", 0):
            yield "only nearest and linear, without antialiasing"
        if attributes.get("coordinate_transformation_mode", b"half_pixel") not in RESIZE_COORDINATES:
            yield f"coordinates {attributes['coordinate_transformation_mode']!r}"
    elif node.op_type == "LayerNormalization" and len(node.output) > 1:
        yield "only the first output"
    elif node.op_type.startswith("Reduce") and len(node.input) > 1 and node.input[1] not in constants:
        yield "axes have to be a constant"
    elif node.op_type == "AveragePool" and set(attributes.get("dilations", [1])) != {1}:
        yield "dilations have to be 1"


def _quantization_faults(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> Iterator[str]:
    """Zero points are 0 and of int8; scales are constants."""
    if node.input[1] not in constants:
        yield "the scale has to be a constant"
    if len(node.input) < 3 or node.input[2] not in constants:
        yield "without a zero point its integers are uint8"
        return
    zero = constants[node.input[2]]
    if zero.data_type != TensorProto.INT8:
        yield f"integers of {TensorProto.DataType.Name(zero.data_type)}"
    elif np.any(numpy_helper.to_array(zero)):
        yield "the zero point has to be 0"
