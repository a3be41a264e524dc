"""INT8 in an ML Program, layer by layer as the policy decides: a graph pass that runs at the end of the conversion.

A layer with 8-bit weights has them as int8 behind a `constexpr_affine_dequantize`, one scale for each output channel;
one with a palette has the places of its weights behind a `constexpr_lut_to_dense`, 6 or 4 bits each.
One with 8-bit activations also gets its input and its output, after the ReLU that is fused with it, through `quantize`
and `dequantize` with the ranges that calibration found: the form in which coremltools writes quantized activations,
and the one that `quantization/fake_quant.py` trains.

Layers are found by the names of their weights, which torch.export makes of the parameters' (`p_blocks_0_mlp_0_weight`)
and coremltools keeps. coremltools' own `linear_quantize_activations` calibrates by predicting, which needs macOS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from coremltools.converters.mil.mil.scope import ScopeInfo, ScopeSource

from converters.integers import int8_range, int8_weight
from converters.palette import palette
from converters.target import GraphPrecision
from sam2lite_mobile.errors import ConversionError, explain
from sam2lite_mobile.quantization.policy import LayerPrecision
from sam2lite_mobile.quantization.ranges import ActivationRange

NAMESPACE, NAME = "sam2lite", "policy_integers"
PASS = f"{NAMESPACE}::{NAME}"
CLEAN_UP = "common::dead_code_elimination"
LAYERS = ("conv", "linear")
FUSED = ("relu", "relu6", "clip")
FLOAT16_SUFFIX = "_to_fp16"


class PolicyIntegers(AbstractGraphPass):  # type: ignore[misc]
    """The pass: see the top of this file. layers: of the graph, by the name of their weight in the program."""

    def __init__(self, layers: dict[str, LayerPrecision], precision: GraphPrecision) -> None:
        self._layers = layers
        self._precision = precision
        self._weights: dict[str, Any] = {}
        self._rounded: dict[tuple[str, ActivationRange], Any] = {}

    def apply(self, prog: Any) -> None:
        """Change the program in place. Raises ConversionError where a layer of the policy is not found in it."""
        block = prog.functions["main"]
        found = set()
        for op in list(block.operations):
            if op.op_type not in LAYERS or op.weight.op is None or op.weight.op.op_type != "const":
                continue
            decision = self._layers.get(op.weight.name.removesuffix(FLOAT16_SUFFIX))
            if decision is None:
                continue
            found.add(decision.layer)
            with block, mb.scope(*_scopes(op)):
                self._quantize(block, op, decision)
        missing = sorted({each.layer for each in self._layers.values()} - found)
        if missing:
            raise ConversionError(
                explain(
                    "layers of the policy in the ML Program",
                    expected=f"a conv or linear operation for each of {len(self._layers)}",
                    got=f"none for {', '.join(missing[:4])}",
                    do="see which names coremltools gives to weights",
                )
            )

    def _quantize(self, block: Any, op: Any, decision: LayerPrecision) -> None:
        weight = op.weight
        if weight.name not in self._weights:
            make = _integers if decision.weight_bits == 8 else _palette
            self._weights[weight.name] = make(weight, op, decision.weight_bits)
        op.set_inputs(weight=self._weights[weight.name])
        if decision.activation_bits != 8:
            return
        ranges = self._precision.ranges_of(decision.layer)
        op.set_inputs(x=self._round(op.x, ranges.input, before=op))
        end = _end_of(op)
        if end in block.outputs:
            return
        operations = list(block.operations)
        after = operations[operations.index(end.op) + 1]
        rounded = self._round(end, ranges.output, before=after)
        block.replace_uses_of_var_after_op(anchor_op=rounded.op, old_var=end, new_var=rounded)

    def _round(self, tensor: Any, limits: ActivationRange, *, before: Any) -> Any:
        """The tensor after int8 and back; one pair of operations serves all readers of the same range."""
        known = (tensor.name, limits)
        if known not in self._rounded:
            scale, zero = int8_range(limits, scale_type=types.nptype_from_builtin(tensor.dtype))
            name = f"{tensor.name}_int8" if not self._rounded else f"{tensor.name}_int8_{len(self._rounded)}"
            stored = mb.quantize(
                input=tensor, scale=scale, zero_point=zero, output_dtype="int8", before_op=before, name=name
            )
            self._rounded[known] = mb.dequantize(
                input=stored, scale=scale, zero_point=zero, before_op=before, name=f"{name}_back"
            )
        return self._rounded[known]


def use_policy(pipeline: Any, graph: str, layers: tuple[str, ...], precision: GraphPrecision) -> None:
    """Let a conversion's pass pipeline write the integers of a recipe into a graph of the contract.

    layers: module names of its Conv2d and Linear, within the graph.

    A recipe without integers leaves the pipeline as it is. The registry of passes is coremltools' own and global: a
    process converts one graph at a time.
    """
    if precision.name.startswith("fp"):
        return
    decisions = {}
    for name in layers:
        decision = precision.policy.decide(f"{graph}.{name}")
        if decision.weight_bits <= 8:
            decisions[f"p_{name.replace('.', '_')}_weight"] = decision
    PASS_REGISTRY.passes[PASS] = PolicyIntegers(decisions, precision)
    pipeline.append_pass(PASS)
    pipeline.append_pass(CLEAN_UP)


def _integers(weight: Any, op: Any, bits: int) -> Any:
    """The weight as int8 with the scales of its output channels."""
    values = weight.val
    integers, scales = int8_weight(values.astype(np.float32), axis=0, scale_type=values.dtype.type)
    return mb.constexpr_affine_dequantize(
        quantized_data=integers,
        zero_point=np.int8(0),
        scale=scales,
        axis=np.int32(0),
        before_op=op,
        name=f"{weight.name}_int{bits}",
    )


def _palette(weight: Any, op: Any, bits: int) -> Any:
    """The weight as places in a palette, `bits` each, the first in the lowest bits of a byte."""
    table, places = palette(weight.val, bits=bits)
    digits = np.unpackbits(places.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return mb.constexpr_lut_to_dense(
        indices=np.packbits(digits.reshape(-1), bitorder="little"),
        lut=table,
        shape=np.asarray(weight.val.shape, np.uint32),
        before_op=op,
        name=f"{weight.name}_palette{bits}",
    )


def _end_of(op: Any) -> Any:
    """The tensor that leaves a layer: of the ReLU behind the operation where that is the only reader."""
    output = op.outputs[0]
    readers = output.child_ops
    fused = len(readers) == 1 and readers[0].op_type in FUSED
    return readers[0].outputs[0] if fused else output


def _scopes(op: Any) -> list[Any]:
    """Where an operation came from, for those that are made for it: coremltools refuses operations without."""
    return [
        ScopeInfo(source=source, data=data)
        for source, data in op.scopes.items()
        if source is not ScopeSource.COREMLTOOLS_GRAPH_PASS
    ]
