"""Small pieces of the graphs, written with the operations that XNNPACK takes: sums and means as products with ones.

XNNPACK's delegate in ExecuTorch 1.5.1 has no layer normalisation, no sum, no mean over the last axis, no expansion and
no selection of an index (executorch/backends/xnnpack/partition/config). What it lacks would run on portable kernels and
cut a graph into pieces.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile.student.memory_encoder import NORM_FLOOR, NORM_SCALE


class LinearNorm(nn.Module):
    """`nn.LayerNorm` over the last axis: mean and variance are products with a row of 1 / width.

    forward: (..., width) float32 -> the same shape. The floor of the variance is the bias of its product.
    """

    weight: Tensor
    bias: Tensor
    mean_row: Tensor
    floor: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, floor: float) -> None:
        super().__init__()
        width = weight.shape[0]
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())
        self.register_buffer("mean_row", torch.full((1, width), 1 / width))
        self.register_buffer("floor", torch.tensor([floor]))

    @classmethod
    def from_torch(cls, norm: nn.LayerNorm) -> LinearNorm:
        """The same norm."""
        return cls(norm.weight, norm.bias, norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised tensor."""
        centred = x - F.linear(x, self.mean_row)
        variance = F.linear(centred * centred, self.mean_row, self.floor)
        return centred * torch.rsqrt(variance) * self.weight + self.bias


class LinearUnit(nn.Module):
    """`memory_encoder.unit`: x scaled to length 1 along its last axis of `width` channels, times a constant factor."""

    ones_row: Tensor
    floor: Tensor
    factor: Tensor

    def __init__(self, width: int, factor: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("ones_row", torch.ones(1, width))
        self.register_buffer("floor", torch.tensor([NORM_FLOOR]))
        scale = torch.ones(1) if factor is None else factor.detach().reshape(1)
        self.register_buffer("factor", scale.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        x = x * NORM_SCALE
        return x * (torch.rsqrt(F.linear(x * x, self.ones_row, self.floor)) * self.factor)


def with_linear_norms(module: nn.Module) -> nn.Module:
    """A copy of a module in which every `nn.LayerNorm` is a `LinearNorm`; names of all layers stay."""
    changed = copy.deepcopy(module)
    for name, child in list(changed.named_modules()):
        if isinstance(child, nn.LayerNorm):
            parent = changed.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], LinearNorm.from_torch(child))
    return changed


def along_both(x: Tensor, rows: Tensor) -> Tensor:
    """rows @ x @ rows^T for maps x (1, channels, n, n) and a constant matrix rows (m, n): (1, channels, m, m).

    As two products with a constant second factor, which XNNPACK packs once; `matmul` would expand the matrix.
    """
    x = F.linear(x, rows).transpose(2, 3)
    return F.linear(x, rows).transpose(2, 3)
