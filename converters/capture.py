"""A graph of the student as torch.export sees it: what every converter starts from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import nn

from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.quantization.policy import quantizable_layers
from sam2lite_mobile.student.student import Student, example_inputs


@dataclass(frozen=True)
class CapturedGraph:
    """A graph at its size, ready for one or several conversions.

    layers: module names of its Conv2d and Linear, within the graph, in its order.
    """

    spec: GraphSpec
    program: torch.export.ExportedProgram
    layers: tuple[str, ...]


def capture(student: Student, spec: GraphSpec, *, bank_tokens: int) -> CapturedGraph:
    """Trace a graph of the student at its size."""
    return capture_module(student.graph(spec.graph), spec, bank_tokens=bank_tokens)


def capture_module(module: nn.Module, spec: GraphSpec, *, bank_tokens: int) -> CapturedGraph:
    """Trace what stands for a graph at its size. `forward`'s arguments have the contract's names, so the inputs do."""
    examples = example_inputs(spec.graph, spec.size or 512, bank_tokens=bank_tokens)
    arguments = tuple(examples[tensor.name] for tensor in spec.inputs)
    layers = tuple(quantizable_layers(module))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own tree specs, met while it copies its graph
        return CapturedGraph(spec, torch.export.export(module.eval(), arguments), layers)
