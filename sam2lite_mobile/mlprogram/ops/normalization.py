"""Layer, batch, instance and L2 normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.mlprogram.ops import accumulation
from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation


@operation("layer_norm")
def _layer_norm(node: Node) -> Kernel:
    """gamma, beta: the sizes of `axes`."""
    axes, epsilon = node.axes("axes", of="x"), node.number("epsilon", 1e-5)
    shape, rank = node.shape("x"), node.rank("x")
    if not axes or tuple(sorted(axes)) != axes:
        raise node.refuse("axes", "rising axes", str(axes))
    normalised = [shape[axis] for axis in axes]
    affine = [shape[i] if i in axes else 1 for i in range(rank)]
    gamma = node.tensor("gamma").reshape(affine) if node.has("gamma") else None
    beta = node.tensor("beta").reshape(affine) if node.has("beta") else None
    if node.low_precision:
        return node.kernel(lambda x: _normalise_fp16(x, axes, epsilon, gamma=gamma, beta=beta), "x")
    if axes == tuple(range(rank - len(axes), rank)):
        weight = gamma.reshape(normalised) if gamma is not None else None
        bias = beta.reshape(normalised) if beta is not None else None
        return node.kernel(lambda x: F.layer_norm(x, normalised, weight, bias, epsilon), "x")
    return node.kernel(lambda x: _normalise(x, axes, epsilon, gamma=gamma, beta=beta), "x")


@operation("batch_norm")
def _batch_norm(node: Node) -> Kernel:
    """mean, variance, gamma, beta: (channels). A scale and a shift a channel, made once."""
    mean, variance = node.tensor("mean"), node.tensor("variance")
    gamma = node.tensor("gamma") if node.has("gamma") else None
    beta = node.tensor("beta") if node.has("beta") else None
    epsilon = node.number("epsilon", 1e-5)
    return node.kernel(lambda x: F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon), "x")


@operation("instance_norm")
def _instance_norm(node: Node) -> Kernel:
    """gamma, beta: (channels). Statistics over the spatial axes of each sample and channel."""
    gamma = node.tensor("gamma") if node.has("gamma") else None
    beta = node.tensor("beta") if node.has("beta") else None
    epsilon, rank = node.number("epsilon", 1e-5), node.rank("x")
    if rank < 3:
        raise node.refuse("x", "spatial axes", f"rank {rank}")
    if node.low_precision:
        axes, affine = tuple(range(2, rank)), [-1] + [1] * (rank - 2)
        g = gamma.reshape(affine) if gamma is not None else None
        b = beta.reshape(affine) if beta is not None else None
        return node.kernel(lambda x: _normalise_fp16(x, axes, epsilon, gamma=g, beta=b), "x")
    return node.kernel(lambda x: F.instance_norm(x, None, None, gamma, beta, True, 0.0, epsilon), "x")


@operation("l2_norm")
def _l2_norm(node: Node) -> Kernel:
    """x / sqrt(sum(x^2) + epsilon) over the last three axes."""
    epsilon, rank = node.number("epsilon", 1e-6), node.rank("x")
    if rank < 3:
        raise node.refuse("x", "at least three axes", f"rank {rank}")
    axes = tuple(range(rank - 3, rank))

    def in_chunks(x: Tensor) -> Tensor:
        squares = accumulation.sum_over(accumulation.half(x * x), axes, keep_dims=True)
        return x * accumulation.half(torch.rsqrt(squares + epsilon))

    def run(x: Tensor) -> Tensor:
        return x * torch.rsqrt(torch.sum(x * x, axes, keepdim=True) + epsilon)

    return node.kernel(in_chunks if node.low_precision else run, "x")


def _normalise(
    x: Tensor, axes: tuple[int, ...], epsilon: float, *, gamma: Tensor | None, beta: Tensor | None
) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    scale = torch.rsqrt(variance + epsilon)
    y = (x - mean).mul_(scale if gamma is None else scale * gamma)
    return y if beta is None else y.add_(beta)


def _normalise_fp16(
    x: Tensor, axes: tuple[int, ...], epsilon: float, *, gamma: Tensor | None, beta: Tensor | None
) -> Tensor:
    half = accumulation.half
    centred = half(x - accumulation.mean_over(x, axes, keep_dims=True))
    variance = accumulation.mean_over(half(centred * centred), axes, keep_dims=True)
    y = half(centred * half(torch.rsqrt(half(variance + epsilon))))
    y = y if gamma is None else half(y * gamma)
    return y if beta is None else y + beta
