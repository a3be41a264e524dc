"""INT8 in a TFLite model, layer by layer as the policy decides.

A layer with 8-bit activations computes in integers: its input and its output have the ranges that calibration found,
its bias is int32 with the scale of its products, its weights are int8 with a scale for each output channel (the LiteRT
8-bit specification, https://ai.google.dev/edge/litert/models/quantization_spec). QUANTIZE and DEQUANTIZE stand around
it. Between two such layers values stay integers, also through what only moves them: padding, cuts, reshapes.

A layer with 8-bit weights alone has them behind a DEQUANTIZE, which XNNPACK does once, when it packs weights: what is
computed is float32. The other way, int8 weights in the float operator itself, makes XNNPACK round the layer's input to
int8 row by row while it runs; figures are in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.integers import int8_range, int8_weight
from converters.target import GraphPrecision
from converters.tflite.flatbuffer import FLOAT32, INT8, Graph, quantization
from converters.tflite.layers import CHANNEL_AXES, Layer
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.ranges import ActivationRange

MOVING = {"PAD": 2, "SLICE": 2, "RESHAPE": 1, "TRANSPOSE": 2}
"""Operators that only move values, which they do to integers as well, and the version from which they take int8."""
LAYER_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4}
"""Version of an operator from which it computes in int8 (tensorflow/lite/tools/versioning/op_version.cc)."""
DEQUANTIZE_CHANNELS, DEQUANTIZE_TENSOR = 5, 2
"""Versions of DEQUANTIZE: with a scale for each channel, and with one for the tensor (the same file)."""
_INT32 = 2**31 - 1


def quantize(graph: Graph, layers: Iterable[Layer], precision: GraphPrecision) -> None:
    """Put the integers of a recipe into a graph, in place. layers: those of `find_layers`.

    Raises ContractError where a layer with 8-bit activations has no calibrated range.
    """
    _Quantizer(graph, layers, precision).run()


class _Quantizer:
    """One pass over the operators of a graph, in their order."""

    def __init__(self, graph: Graph, layers: Iterable[Layer], precision: GraphPrecision) -> None:
        self._graph = graph
        self._precision = precision
        self._layers = {id(layer.operator): layer for layer in layers}
        self._writers: dict[int, Any] = {}
        self._integers: dict[int, int] = {}
        """Tensors that are there as integers too: one that an integer layer wrote, or that such a one was moved to."""
        self._rounded: dict[tuple[int, float, int], int] = {}
        self._operators: list[Any] = []

    def run(self) -> None:
        """Quantize what the policy asks for, and drop what nothing reads any longer."""
        graph = self._graph
        for operator in list(graph.operators):
            layer = self._layers.get(id(operator))
            decision = self._precision.policy.decide(layer.name) if layer is not None else None
            if layer is None or decision is None or decision.weight_bits != 8:
                self._emit(operator)
            elif decision.activation_bits == 8:
                self._compute_in_integers(layer)
            else:
                self._store_weights(layer)
        graph.body.operators = live(self._operators, [int(i) for i in graph.body.outputs])

    def _emit(self, operator: Any) -> None:
        for tensor in operator.outputs:
            self._writers[int(tensor)] = operator
        self._operators.append(operator)

    def _store_weights(self, layer: Layer) -> None:
        graph, operator = self._graph, layer.operator
        weight = int(operator.inputs[1])
        stored, _ = self._int8_weight(operator)
        back = graph.add_tensor(graph.shape(weight), FLOAT32)
        self._emit(
            graph.operator(
                "DEQUANTIZE", [stored], [back], version=DEQUANTIZE_CHANNELS, options=schema.DequantizeOptionsT()
            )
        )
        operator.inputs = _replaced(operator.inputs, 1, back)
        self._emit(operator)

    def _compute_in_integers(self, layer: Layer) -> None:
        graph, operator = self._graph, layer.operator
        ranges = self._precision.ranges_of(layer.name)
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        inputs = operator.inputs
        read = self._as_integers(source, ranges.input)
        stored, weight_scales = self._int8_weight(operator)
        if len(inputs) > 2 and int(inputs[2]) >= 0:
            input_scale = np.float32(graph.body.tensors[read].quantization.scale[0])
            scales = weight_scales * input_scale
            bias = np.rint(graph.values(int(inputs[2])).astype(np.float64) / scales)
            integers = np.clip(bias, -_INT32, _INT32).astype(np.int32)
            inputs = _replaced(inputs, 2, graph.add_constant(integers, quantization(scales, _zeros(scales))))
        written = graph.add_tensor(graph.shape(target), INT8, _activation(_times(ranges.output, layer.factor)))
        operator.inputs = _replaced(_replaced(inputs, 0, read), 1, stored)
        operator.outputs = _replaced(operator.outputs, 0, written)
        kind = graph.kind(operator)
        version = max(int(graph.model.operatorCodes[operator.opcodeIndex].version), LAYER_VERSIONS[kind])
        operator.opcodeIndex = graph.code(kind, version)
        self._emit(operator)
        self._integers[target] = written
        self._emit(
            graph.operator(
                "DEQUANTIZE", [written], [target], version=DEQUANTIZE_TENSOR, options=schema.DequantizeOptionsT()
            )
        )

    def _int8_weight(self, operator: Any) -> tuple[int, NDArray[np.float32]]:
        """A constant with the integers of a layer's weight, and the scale of each output channel."""
        axis = CHANNEL_AXES[self._graph.kind(operator)]
        integers, scales = int8_weight(self._graph.values(int(operator.inputs[1])), axis=axis)
        return self._graph.add_constant(integers, quantization(scales, _zeros(scales), axis=axis)), scales

    def _as_integers(self, tensor: int, limits: ActivationRange) -> int:
        """The tensor in integers: those that it comes from, or else its values rounded in this range."""
        known = self._moved_integers(tensor)
        if known is not None:
            return known
        graph, kind = self._graph, _activation(limits)
        key = (tensor, float(kind.scale[0]), int(kind.zeroPoint[0]))
        if key not in self._rounded:
            made = graph.add_tensor(graph.shape(tensor), INT8, kind)
            self._emit(graph.operator("QUANTIZE", [tensor], [made], options=schema.QuantizeOptionsT()))
            self._rounded[key] = made
        return self._rounded[key]

    def _moved_integers(self, tensor: int) -> int | None:
        """The integers of a tensor that is an integer layer's output, moved at most; None for any other tensor.

        A ReLU6 or ReLU behind such a layer is in the range of its output already.
        """
        if tensor in self._integers:
            return self._integers[tensor]
        graph, writer = self._graph, self._writers.get(tensor)
        if writer is None:
            return None
        kind = graph.kind(writer)
        before = self._moved_integers(int(writer.inputs[0])) if kind in MOVING or kind in ("RELU6", "RELU") else None
        if before is None:
            return None
        unit = graph.body.tensors[before].quantization
        if kind in MOVING:
            made = graph.add_tensor(graph.shape(tensor), INT8, unit)
            self._emit(
                schema.OperatorT(
                    opcodeIndex=graph.code(kind, MOVING[kind]),
                    inputs=_replaced(writer.inputs, 0, before),
                    outputs=np.asarray([made], np.int32),
                    builtinOptionsType=writer.builtinOptionsType,
                    builtinOptions=writer.builtinOptions,
                )
            )
        elif _lies_in(unit, low=0.0, high=6.0 if kind == "RELU6" else np.inf):
            made = before
        else:
            return None
        self._integers[tensor] = made
        return made


def live(operators: list[Any], outputs: list[int]) -> list[Any]:
    """The operators that lead to an output."""
    wanted, kept = set(outputs), []
    for operator in reversed(operators):
        if any(int(tensor) in wanted for tensor in operator.outputs):
            kept.append(operator)
            wanted.update(int(tensor) for tensor in operator.inputs)
    return kept[::-1]


def _activation(limits: ActivationRange) -> Any:
    """Scale and zero point of an activation, as training has them."""
    scale, zero = int8_range(limits)
    return quantization(scale.reshape(1), zero.reshape(1).astype(np.int64))


def _times(limits: ActivationRange, factor: float) -> ActivationRange:
    return ActivationRange(limits.low * factor, limits.high * factor)


def _lies_in(unit: Any, *, low: float, high: float) -> bool:
    """Whether every integer of a unit is a number in [low, high], to half a step."""
    scale, zero = float(unit.scale[0]), int(unit.zeroPoint[0])
    least, largest = (int8.ACTIVATION_LOW - zero) * scale, (int8.ACTIVATION_HIGH - zero) * scale
    return least >= low - scale / 2 and largest <= high + scale / 2


def _zeros(scales: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.zeros(scales.shape, np.int64)


def _replaced(tensors: Any, place: int, tensor: int) -> NDArray[np.int32]:
    changed = np.array(tensors, np.int32)
    changed[place] = tensor
    return changed
