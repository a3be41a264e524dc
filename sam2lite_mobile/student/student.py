"""The student: the five graphs of the contract as torch modules, built from one configuration."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.student.config import PRESETS, PatchEmbedding, StudentConfig
from sam2lite_mobile.student.image_encoder import ImageEncoder
from sam2lite_mobile.student.mask_decoder import MaskDecoder
from sam2lite_mobile.student.memory_encoder import MemoryEncoder
from sam2lite_mobile.student.prompt_encoder import PromptEncoder
from sam2lite_mobile.student.token_gate import TokenGate


class Student(nn.Module):
    """Five graphs, one set of weights for every input size. Attributes are named as the graphs of the contract."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder(config)
        self.memory_encoder = MemoryEncoder()
        self.token_gate = TokenGate()

    def graph(self, name: str) -> nn.Module:
        """The module of a graph. Its forward takes and returns the contract's tensors in the contract's order."""
        if name not in contract.GRAPHS:
            raise ValueError(f"graph: expected one of {', '.join(contract.GRAPHS)}, got {name!r}")
        return self.get_submodule(name)

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of each graph."""
        return {name: sum(p.numel() for p in self.graph(name).parameters()) for name in contract.GRAPHS}


def build_student(name: str, *, seed: int = 0, patch_embed: PatchEmbedding = "conv") -> Student:
    """A student of a published size with random weights, the same for the same seed. Global RNG is left as it was."""
    if name not in PRESETS:
        raise ValueError(f"student: expected one of {', '.join(PRESETS)}, got {name!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Student(replace(PRESETS[name], patch_embed=patch_embed)).eval()


def example_inputs(
    graph: str, size: int, *, bank_tokens: int = contract.BANK_TOKENS, seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs of a graph in the ranges of the contract, for tests, tracing and timing."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for spec in contract.graph_spec(graph, size, bank_tokens=bank_tokens).inputs:
        if spec.low is not None and spec.high is not None and spec.low > contract.MASKED:
            value = torch.rand(spec.shape, generator=generator) * (spec.high - spec.low) + spec.low
            if spec.name in ("image", "labels", "memory_anchor"):
                value = torch.round(value)
        elif spec.low == contract.MASKED:
            value = torch.zeros(spec.shape)
        else:
            value = torch.randn(spec.shape, generator=generator)
        tensors[spec.name] = value.contiguous()
    return tensors
