"""The floating-point operations of a student's graphs: a multiply-add counts as two.

Counted by torch's own counter on one run of each graph as it is written: products of matrices and convolutions, which
are nearly all of the work. Sums, softmax, norms and activations are not counted, so a share of a machine's peak that is
made of this is a little low, never high. A runtime may compute a graph with fewer operations (Winograd's convolutions,
constants that were folded); the count is that of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sam2lite_mobile.contract import GRAPHS
from sam2lite_mobile.student.config import PRESETS
from sam2lite_mobile.student.student import build_student, example_inputs


def module_flops(module: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """Operations of one call of a module with these keyword arguments."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(**inputs)
    return int(counter.get_total_flops())


@lru_cache(maxsize=32)
def graph_flops(student: str, *, size: int, bank_tokens: int) -> Mapping[str, int]:
    """Operations of each graph of a published student at an input size, by name; empty for another student."""
    if student not in PRESETS:
        return {}
    model = build_student(student)
    return {
        graph: module_flops(model.graph(graph), example_inputs(graph, size, bank_tokens=bank_tokens))
        for graph in GRAPHS
    }
