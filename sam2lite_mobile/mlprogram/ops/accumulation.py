"""Sums as a pessimistic fp16 device makes them: chunk by chunk, the running sum rounded to fp16 after each chunk.

Inside a chunk of `CHUNK` products the sum is exact to float32, as in a dot-product unit with a wide local
accumulator. Real devices differ in where they round; this is a bound to compare recipes with, not a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import torch
from torch import Tensor

CHUNK = 32
"""Products that are summed before the running sum is rounded to fp16."""


def half(x: Tensor) -> Tensor:
    """`x` rounded to fp16, held as float32."""
    return x.to(torch.float16).to(torch.float32)


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of `terms`, each term and the running sum rounded to fp16."""
    iterator = iter(terms)
    running = half(next(iterator))
    for term in iterator:
        running = half(running + half(term))
    return running


def sum_over(x: Tensor, axes: tuple[int, ...], *, keep_dims: bool) -> Tensor:
    """Sum of `x` over `axes` (counted from the front), `CHUNK` elements at a time in memory order."""
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    flat = x.permute(*kept, *axes).reshape([x.shape[axis] for axis in kept] + [-1])
    result = total(piece.sum(-1) for piece in torch.split(flat, CHUNK, -1))
    return result.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]) if keep_dims else result


def mean_over(x: Tensor, axes: tuple[int, ...], *, keep_dims: bool) -> Tensor:
    """Mean of `x` over `axes`: the elements are divided first, so that a long sum does not overflow fp16."""
    count = prod(x.shape[axis] for axis in axes)
    return sum_over(half(x / count), axes, keep_dims=keep_dims)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """`x @ y` with the inner axis in chunks."""
    pieces = zip(torch.split(x, CHUNK, -1), torch.split(y, CHUNK, -2), strict=True)
    return total(a @ b for a, b in pieces)


def softmax(x: Tensor, axis: int) -> Tensor:
    """Softmax over `axis` with exponentials and their sum in fp16."""
    exponentials = half(torch.exp(half(x - x.amax(axis, keepdim=True))))
    return exponentials / sum_over(exponentials, (axis % x.dim(),), keep_dims=True)


def channels(
    convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, *, groups: int, transposed: bool
) -> Tensor:
    """A convolution whose input channels are taken in chunks of about `CHUNK` products.

    x: (batch, C_in, *spatial). weight: (C_out, C_in / groups, *kernel), or (C_in, C_out / groups, *kernel) if
    transposed. `convolve` gets the channels of one chunk of every group, in the same layout.
    """
    per_group = x.shape[1] // groups
    step = max(1, CHUNK // prod(weight.shape[2:]))
    grouped_x = x.reshape(x.shape[0], groups, per_group, *x.shape[2:])
    grouped_weight = weight.reshape(groups, per_group, *weight.shape[1:]) if transposed else weight

    def terms() -> Iterable[Tensor]:
        for start in range(0, per_group, step):
            part = slice(start, start + step)
            slab = grouped_weight[:, part]
            yield convolve(grouped_x[:, :, part].flatten(1, 2), slab.flatten(0, 1) if transposed else slab)

    return total(terms())
