"""Lowering for ExecuTorch's Vulkan delegate.

The partitioner has log10 and no other logarithm (executorch/backends/vulkan/op_registry.py), so log2 is written with
it. Its patterns of rotary embeddings, which no graph of ours has, are traced anew for each graph and take most of the
time (16 of 23 s of a token gate): they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from converters.executorch.lower import lower, placement, program_bytes, require_delegated
from converters.executorch.quantize import quiet

LOG2_10 = math.log2(10)
_ROTARY = ("export_llama_rope", "hf_rope")


def lower_to_vulkan(program: torch.export.ExportedProgram, *, precision: str, recipe: str, where: str) -> bytes:
    """A program of one call of the Vulkan delegate; `fp16` keeps and computes in float16 what is inside of it.

    The method takes and gives float32 either way. Raises ConversionError where an operation is left outside, or there
    is no counterpart for it.
    """
    with quiet():
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
    written = program.run_decompositions({torch.ops.aten.log2.default: _log2})
    with without_rotary_patterns():
        partitioner = VulkanPartitioner({"force_fp16": precision == "fp16"})
        edge = lower(written, [partitioner], recipe=recipe, where=where)
        require_delegated(placement(edge), where=where)
        return program_bytes(edge, where=where)


@contextmanager
def without_rotary_patterns() -> Iterator[None]:
    """Let the partitioner look for no rotary embedding while the block runs."""
    from executorch.backends.vulkan.patterns import fusable_patterns

    kept = {name: fusable_patterns.pop(name) for name in _ROTARY if name in fusable_patterns}
    try:
        yield
    finally:
        fusable_patterns.update(kept)


def _log2(x: Tensor) -> Tensor:
    return torch.log10(x) * LOG2_10
