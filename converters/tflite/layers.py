"""Which operator of a TFLite model is which layer of the student: found by the weights, not by names.

A constant of the model equals the weight of one layer, its axes in TFLite's order, times one number that the converter
may have folded into it (the scale of an attention's queries). Two layers with equal weights are told apart by the
modules that the converter notes in a tensor's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters.capture import CapturedGraph
from converters.tflite.flatbuffer import FLOAT32, Graph
from sam2lite_mobile.errors import ConversionError, explain

CHANNEL_AXES = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": 3}
"""The operators that layers become, and the axis of their weights' output channels (LiteRT 8-bit specification)."""
FOLDED_TOLERANCE = 1e-5
"""Of a weight's largest value: float32 rounding of a product."""


@dataclass(frozen=True)
class Layer:
    """A layer in a model. name: module name in the student, `image_encoder.enter`.

    operator: what computes it. factor: what its outputs were multiplied by when the converter folded that in; 1 mostly.
    """

    name: str
    operator: Any
    factor: float


def find_layers(graph: Graph, captured: CapturedGraph) -> list[Layer]:
    """Every layer of a captured graph in its model, in the order of execution; a layer may be called several times.

    Of layers with equal weights that read the same tensor the converter makes one, as it may of an untrained student.
    Raises ConversionError where one is not found as often as it is called, or could be any of several.
    """
    calls = list(_calls(captured))
    found: list[Layer] = []
    for operator in graph.operators:
        kind = graph.kind(operator)
        if kind not in CHANNEL_AXES:
            continue
        weight = int(operator.inputs[1])
        if not graph.is_constant(weight) or graph.type(weight) != FLOAT32:
            continue
        channels = _channels_first(graph.values(weight), CHANNEL_AXES[kind])
        matching = {
            name: factor for name, values in calls if (factor := _factor(channels, _flat(values, kind))) is not None
        }
        if matching:
            name = _one_of(matching, _names(graph, operator), where=captured.spec.id)
            found.append(Layer(name, operator, matching[name]))
    _require_all(captured.spec.id, calls, [layer.name for layer in found])
    return found


def _calls(captured: CapturedGraph) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and weight of the layer of every call of a Conv2d or Linear; constant kernels are no layers."""
    program = captured.program
    parameters = program.graph_signature.inputs_to_parameters
    for node in program.graph.nodes:
        if node.target not in (torch.ops.aten.linear.default, torch.ops.aten.conv2d.default):
            continue
        parameter = parameters.get(getattr(node.args[1], "name", ""))
        if parameter is not None:
            weight = program.state_dict[parameter].detach().float().numpy()
            yield f"{captured.spec.graph}.{parameter.removesuffix('.weight')}", weight


def _channels_first(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """(channels, rest) of a constant of the model."""
    moved = np.moveaxis(values, axis, 0)
    return np.ascontiguousarray(moved).reshape(moved.shape[0], -1)


def _flat(weight: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """A layer's weight (output channels, ...) as `_channels_first` has it: TFLite's kernels end in input channels."""
    if kind == "CONV_2D" and weight.ndim == 4:
        weight = weight.transpose(0, 2, 3, 1)
    return weight.reshape(weight.shape[0], -1)


def _factor(constant: NDArray[np.float32], weight: NDArray[np.float32]) -> float | None:
    """The number that a weight was multiplied by to give a constant of the model, or None where that is none."""
    if constant.shape != weight.shape:
        return None
    if np.array_equal(constant, weight):
        return 1.0
    norm = float(np.square(weight.astype(np.float64)).sum())
    if norm == 0:
        return None
    factor = float((constant.astype(np.float64) * weight).sum()) / norm
    error = float(np.abs(constant - factor * weight).max())
    return factor if factor > 0 and error <= FOLDED_TOLERANCE * float(np.abs(constant).max()) else None


def _names(graph: Graph, operator: Any) -> str:
    tensors = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return ";".join((graph.body.tensors[i].name or b"").decode() for i in tensors)


def _one_of(matching: dict[str, float], notes: str, *, where: str) -> str:
    """The layer among several of equal weights whose modules are all in the converter's notes."""
    if len(matching) == 1:
        return next(iter(matching))
    noted = [
        name
        for name in matching
        if all(re.search(rf"_{re.escape(part)}(/|;|$)", notes) for part in _called_modules(name))
    ]
    if len(noted) != 1:
        raise ConversionError(
            explain(
                f"{where} to TFLite",
                expected=f"one of {', '.join(sorted(matching))} by the notes of its operator",
                got=f"{len(noted)} of them in {notes[:200]!r}",
                do="give these layers different weights, as training does",
            )
        )
    return noted[0]


def _called_modules(layer: str) -> list[str]:
    """The parts of a layer's name below its graph; a list of modules is not called and leaves no note."""
    parts = layer.split(".")[1:]
    return [part for part, following in zip(parts, [*parts[1:], ""], strict=True) if not following.isdigit()]


def _require_all(where: str, calls: list[tuple[str, NDArray[np.float32]]], found: list[str]) -> None:
    """Each weight is found as often as it is used; where several layers have it, at least once."""
    groups: dict[bytes, list[str]] = {}
    for name, values in calls:
        groups.setdefault(values.tobytes(), []).append(name)
    wrong = []
    for names in groups.values():
        count = sum(name in names for name in found)
        if not (count == len(names) or (len(set(names)) > 1 and 0 < count < len(names))):
            wrong += sorted(set(names))
    if wrong:
        raise ConversionError(
            explain(
                f"{where} to TFLite",
                expected=f"{len(calls)} layers, each as often as it is called",
                got=f"{len(found)}; not {', '.join(wrong[:4])}",
                do="look for what the converter folds into their weights",
            )
        )
