"""INT8 in a captured graph, layer by layer as the policy decides: PT2E quantization with a quantizer of our own.

A layer with 8-bit activations has int8 weights, one scale for each output channel, and its input and output in int8
with the ranges that calibration found: XNNPACK computes such a layer in integers, with the ReLU behind it. A tensor
that one such layer hands to the next is rounded once, with the range of the layer that wrote it; slices and ReLUs
between them work on the integers. Everything else stays in float32.

XNNPACK's quantizer (executorch/backends/xnnpack/quantizer) knows kinds of operations and module names, but observes
ranges over data and quantizes sums and products as well; here the ranges are given.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.observer import PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
)

from converters.capture import CapturedGraph
from converters.integers import int8_range
from converters.target import GraphPrecision
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.ranges import ActivationRange

LAYER_CLASSES = ("torch.nn.modules.conv.Conv2d", "torch.nn.modules.linear.Linear")
_LAYERS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
_RELUS = (torch.ops.aten.relu.default, torch.ops.aten.hardtanh.default, torch.ops.aten.relu6.default)
_SLICES = (torch.ops.aten.slice.Tensor,)
_ANNOTATION = "quantization_annotation"
_WEIGHTS = QuantizationSpec(
    dtype=torch.int8,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=int8.SMALLEST_SCALE),
    quant_min=int8.WEIGHT_LOW,
    quant_max=int8.WEIGHT_HIGH,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
)


class PolicyQuantizer(Quantizer):  # type: ignore[misc]  # torchao is not typed
    """Annotates the layers of one graph that the policy has in 8 bits, weights and activations."""

    def __init__(self, graph: str, precision: GraphPrecision) -> None:
        super().__init__()
        self._graph = graph
        self._precision = precision
        self.annotated: list[str] = []

    def annotate(self, model: GraphModule) -> GraphModule:
        """Write what is to be rounded into the nodes' meta. Raises ContractError for a layer without a range."""
        written: dict[Node, FixedQParamsQuantizationSpec] = {}  # by the last node of a layer
        for node in model.graph.nodes:
            layer = layer_of(node, self._graph)
            if layer is None or self._precision.policy.decide(layer).activation_bits != 8:
                continue
            ranges = self._precision.ranges_of(layer)
            source, weight = node.args[0], node.args[1]
            inputs = {source: written.get(source) or activation_spec(ranges.input), weight: _WEIGHTS}
            node.meta[_ANNOTATION] = QuantizationAnnotation(input_qspec_map=inputs, _annotated=True)
            written |= _annotate_end(node, activation_spec(ranges.output))
            self.annotated.append(layer)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to check beyond `annotate`."""


def quantize(graph: CapturedGraph, precision: GraphPrecision) -> torch.export.ExportedProgram:
    """The graph with quantize and dequantize operations where the policy has 8 bits, ready to be lowered.

    Raises ContractError where a layer with 8-bit activations has no calibrated range.
    """
    arguments, _ = graph.program.example_inputs
    with quiet(), torch.no_grad():
        prepared = prepare_pt2e(graph.program.module(), PolicyQuantizer(graph.spec.graph, precision))
        prepared(*arguments)  # the observers of weights look at them when they are called
        return torch.export.export(convert_pt2e(prepared), arguments)


def layer_of(node: Node, graph: str) -> str | None:
    """Module name in the student of the Conv2d or Linear that a node came from, `image_encoder.enter`, or None."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if node.target not in _LAYERS or not stack:
        return None
    path, module = stack[-1]
    name = module if isinstance(module, str) else f"{module.__module__}.{module.__qualname__}"
    return f"{graph}.{path.removeprefix('L__self__.')}" if name in LAYER_CLASSES else None


def activation_spec(limits: ActivationRange) -> FixedQParamsQuantizationSpec:
    """int8 with the scale and zero point of `int8.py` for a range."""
    scale, zero = int8_range(limits)
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=float(scale),
        zero_point=int(zero),
        quant_min=int8.ACTIVATION_LOW,
        quant_max=int8.ACTIVATION_HIGH,
        qscheme=torch.per_tensor_affine,
    )


def _annotate_end(layer: Node, spec: FixedQParamsQuantizationSpec) -> dict[Node, FixedQParamsQuantizationSpec]:
    """Round what leaves a layer, after the ReLU that XNNPACK computes with it; slices and ReLUs behind keep integers.

    Rounding with a range that begins at 0 is a ReLU itself, and one that ends at 6 a ReLU6: a ReLU behind a slice finds
    nothing to change. Gives back the nodes whose output is so rounded.
    """
    end = layer
    following = _only_reader(layer)
    if following is not None and following.target in _RELUS:
        end = following
        end.meta[_ANNOTATION] = QuantizationAnnotation(output_qspec=spec, _annotated=True)
    else:
        end.meta[_ANNOTATION].output_qspec = spec
    rounded = {end: spec}
    following = _only_reader(end)
    while following is not None and following.target in (*_SLICES, *_RELUS):
        following.meta[_ANNOTATION] = QuantizationAnnotation(
            input_qspec_map={end: spec}, output_qspec=spec, _annotated=True
        )
        end = following
        rounded[end] = spec
        following = _only_reader(end)
    return rounded


def _only_reader(node: Node) -> Node | None:
    readers = list(node.users)
    return readers[0] if len(readers) == 1 else None


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the libraries report about themselves: deprecations inside torch, partitions, absent extensions."""
    # The delegates' modules set levels of their own while they are imported, so no single logger is asked.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
