"""Matrix products: linear, matmul, einsum and scaled dot-product attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.mlprogram.ops import accumulation
from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation


@operation("linear")
def _linear(node: Node) -> Kernel:
    """weight: (out, in); bias: (out)."""

    def in_chunks(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        product = accumulation.matmul(x, weight.transpose(0, 1))
        return product if bias is None else product + bias

    return node.kernel(in_chunks if node.low_precision else F.linear, "x", "weight", "bias")


@operation("matmul")
def _matmul(node: Node) -> Kernel:
    product = accumulation.matmul if node.low_precision else torch.matmul
    flip_x, flip_y = node.flag("transpose_x", False), node.flag("transpose_y", False)

    def multiply(x: Tensor, y: Tensor) -> Tensor:
        return product(x.transpose(-1, -2) if flip_x else x, y.transpose(-1, -2) if flip_y else y)

    return node.kernel(multiply if flip_x or flip_y else product, "x", "y")


@operation("einsum")
def _einsum(node: Node) -> Kernel:
    equation = node.text("equation")
    return Kernel(lambda *values: torch.einsum(equation, *values), node.operands("values"))


@operation("scaled_dot_product_attention")
def _attention(node: Node) -> Kernel:
    """query: (..., L, E); key: (..., S, E); value: (..., S, V); attn_mask: additive, or bool with True = attend."""

    def in_chunks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        scaled = accumulation.half(query * (1.0 / math.sqrt(query.shape[-1])))
        scores = accumulation.matmul(scaled, key.transpose(-1, -2))
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            scores = accumulation.half(scores + mask)
        return accumulation.matmul(accumulation.half(accumulation.softmax(scores, -1)), value)

    attention = in_chunks if node.low_precision else F.scaled_dot_product_attention
    return node.kernel(attention, "query", "key", "value", "attn_mask")
