"""INT8 in an ONNX model, layer by layer as the policy decides: QuantizeLinear and DequantizeLinear around its nodes.

A layer with 8-bit weights has them as int8 behind a DequantizeLinear, one scale for each output channel. One with 8-bit
activations also gets its input quantized with the range that calibration found; a convolution its output too, after the
ReLU that is fused with it. ONNX Runtime computes a convolution in integers only between two quantized tensors, a matrix
product as soon as its input is quantized: its result is float and not rounded.

`Form` has two of these.

What ONNX Runtime 1.31 needs to compute in integers on x86 was found by trying all forms (one that it does not know runs
in float, slower than before): activations of uint8, zero points stated on weights too, biases in int32. With 8-bit
weights alone (`w8`) it makes MatMulNBits of a matrix product, which rounds the input to int8 too, block by block while
it runs (45 dB of one product): there `w8` has the exceptions of `w8a8`. Convolutions
get their weights back in float32. TensorRT has symmetric int8 alone, and float biases: that is the other `Form`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converters.integers import int8_activation, int8_weight
from converters.onnx.export import layer_of
from converters.target import GraphPrecision
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.quantization.ranges import ActivationRange


@dataclass(frozen=True)
class Form:
    """How a runtime wants its integers: activations of int8 around 0, or uint8 anywhere; biases of int32, or float."""

    symmetric: bool
    integer_biases: bool


ONNX_RUNTIME = Form(symmetric=False, integer_biases=True)
TENSORRT = Form(symmetric=True, integer_biases=False)

WEIGHTED = ("Conv", "MatMul", "Gemm")
FUSED = ("Clip", "Relu")


def quantize(
    model: onnx.ModelProto, graph: str, precision: GraphPrecision, form: Form = ONNX_RUNTIME
) -> onnx.ModelProto:
    """The model with the integers of a recipe, changed in place. graph: its name in the contract.

    Raises ContractError where a layer with 8-bit activations has no calibrated range.
    """
    _Quantizer(model.graph, graph, precision, form).run()
    return model


class _Quantizer:
    """One pass over the nodes of a graph, in their order: each node follows all that it reads."""

    def __init__(self, graph: onnx.GraphProto, name: str, precision: GraphPrecision, form: Form) -> None:
        self._graph = graph
        self._form = form
        self._name = name
        self._precision = precision
        self._weights: Mapping[str, TensorProto] = {each.name: each for each in graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for read in node.input:
                self._readers.setdefault(read, []).append(node)
        self._outputs = {each.name for each in graph.output}
        self._made: dict[tuple[str, ActivationRange | None], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        """Quantize what the policy asks for."""
        ends: dict[str, ActivationRange] = {}  # a convolution's last tensor, and its range
        for node in list(self._graph.node):
            layer, weight = layer_of(node, self._name), self._weight_of(node)
            if layer is not None and weight is not None and self._has_integers(layer, node):
                decision = self._precision.policy.decide(layer)
                node.input[1] = self._integer_weight(node, weight)
                if decision.activation_bits == 8:
                    ranges = self._precision.ranges_of(layer)
                    node.input[0] = self._round(node.input[0], ranges.input)
                    if self._form.integer_biases:
                        self._quantize_bias(node, weight, ranges.input)
                    end = self._end_of(node)
                    if node.op_type == "Conv" and end not in self._outputs:
                        ends[end] = ranges.output
            self._nodes.append(node)
            for written in list(node.output):
                if written in ends:
                    self._round_in_place(node, written, ends[written])
        self._drop_unread_weights()
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _weight_of(self, node: onnx.NodeProto) -> TensorProto | None:
        return self._weights.get(node.input[1]) if node.op_type in WEIGHTED else None

    def _has_integers(self, layer: str, node: onnx.NodeProto) -> bool:
        """Whether a layer's weights become int8; a matrix product's only where its input may be rounded as well."""
        decision = self._precision.policy.decide(layer)
        if node.op_type != "Conv" and decision.activation_bits != 8:
            return decision.weight_bits == 8 and precision_policy("w8a8").decide(layer).weight_bits == 8
        return decision.weight_bits == 8

    def _end_of(self, node: onnx.NodeProto) -> str:
        """The tensor that leaves a layer: of the ReLU behind the node where that is the only reader."""
        readers = self._readers.get(node.output[0], [])
        one = len(readers) == 1 and readers[0].op_type in FUSED
        return str(readers[0].output[0]) if one else str(node.output[0])

    def _integer_weight(self, node: onnx.NodeProto, weight: TensorProto) -> str:
        """The name that the node reads its weight by, int8 values and their scales behind it."""
        known = (weight.name, None)
        if known not in self._made:
            axis = channel_axis(node, weight)
            integers, scales = int8_weight(numpy_helper.to_array(weight), axis=axis)
            self._made[known] = self._constant(weight.name, integers, scales, axis=axis)
        return self._made[known]

    def _quantize_bias(self, node: onnx.NodeProto, weight: TensorProto, limits: ActivationRange) -> None:
        """The bias of a layer in int32, with the scale of its products; half a step is far below one of the output."""
        owner, places = node, [2] if len(node.input) == 3 else []
        if node.op_type == "MatMul":
            readers = self._readers.get(node.output[0], [])
            if len(readers) != 1 or readers[0].op_type != "Add" or node.output[0] in self._outputs:
                return
            owner = readers[0]
            places = [i for i, name in enumerate(owner.input) if name in self._weights]
        for place in places:
            name = owner.input[place]
            weight_scales = int8_weight(numpy_helper.to_array(weight), axis=channel_axis(node, weight))[1]
            scales = weight_scales * int8_activation(limits, symmetric=self._form.symmetric)[0]
            integers = np.clip(np.rint(numpy_helper.to_array(self._weights[name]) / scales), -(2**31), 2**31 - 1)
            owner.input[place] = self._constant(name, integers.astype(np.int32), scales, axis=0)

    def _constant(self, name: str, integers: NDArray[Any], scales: NDArray[np.float32], *, axis: int) -> str:
        """The name of constant integers in their own unit."""
        names = [f"{name}.integers", f"{name}.scale", f"{name}.zero"]
        constants: tuple[NDArray[Any], ...] = (integers, scales, np.zeros(scales.shape, integers.dtype))
        for values, each in zip(constants, names, strict=True):
            self._graph.initializer.append(numpy_helper.from_array(values, each))
        output = f"{name}.rounded"
        self._nodes.append(helper.make_node("DequantizeLinear", names, [output], output, axis=axis))
        return output

    def _round(self, tensor: str, limits: ActivationRange) -> str:
        """The name of a tensor after uint8 and back; one pair of nodes serves all readers of the same range."""
        known = (tensor, limits)
        if known not in self._made:
            self._made[known] = self._pair(tensor, f"{tensor}.{len(self._made)}", limits)
        return self._made[known]

    def _round_in_place(self, node: onnx.NodeProto, tensor: str, limits: ActivationRange) -> None:
        """Round what a node has written; its readers, all of them later, find the rounded tensor under the old name."""
        exact = f"{tensor}.exact"
        node.output[list(node.output).index(tensor)] = exact
        self._made[(tensor, limits)] = self._pair(exact, tensor, limits, output=tensor)

    def _pair(self, tensor: str, prefix: str, limits: ActivationRange, output: str | None = None) -> str:
        names = [f"{prefix}.scale", f"{prefix}.zero"]
        scale, zero = int8_activation(limits, symmetric=self._form.symmetric)
        self._graph.initializer.extend(
            [numpy_helper.from_array(scale, names[0]), numpy_helper.from_array(zero, names[1])]
        )
        stored, output = f"{prefix}.integers", output or f"{prefix}.rounded"
        self._nodes.append(helper.make_node("QuantizeLinear", [tensor, *names], [stored], stored))
        self._nodes.append(helper.make_node("DequantizeLinear", [stored, *names], [output], f"{prefix}.back"))
        return output

    def _drop_unread_weights(self) -> None:
        read = {name for node in self._nodes for name in node.input}
        kept = [each for each in self._graph.initializer if each.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def channel_axis(node: onnx.NodeProto, weight: TensorProto) -> int:
    """Axis of a weight's output channels."""
    return 0 if node.op_type == "Conv" else len(weight.dims) - 1
