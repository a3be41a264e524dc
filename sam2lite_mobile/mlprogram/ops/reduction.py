"""Reductions, running sums and selection by size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sam2lite_mobile.mlprogram.ops import accumulation
from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


_SUMS: dict[str, Reduce] = {
    "reduce_mean": torch.mean,
    "reduce_sum": torch.sum,
    "reduce_l1_norm": lambda x, axes, keep: torch.sum(x.abs(), axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep)),
    "reduce_sum_square": lambda x, axes, keep: torch.sum(x * x, axes, keep),
    "reduce_log_sum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keep)),
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_prod": _prod,
}
_SUMS_IN_CHUNKS: dict[str, Reduce] = {
    "reduce_mean": lambda x, axes, keep: accumulation.mean_over(x, axes, keep_dims=keep),
    "reduce_sum": lambda x, axes, keep: accumulation.sum_over(x, axes, keep_dims=keep),
    "reduce_l1_norm": lambda x, axes, keep: accumulation.sum_over(x.abs(), axes, keep_dims=keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(
        accumulation.sum_over(accumulation.half(x * x), axes, keep_dims=keep)
    ),
    "reduce_sum_square": lambda x, axes, keep: accumulation.sum_over(accumulation.half(x * x), axes, keep_dims=keep),
    "reduce_log_sum": lambda x, axes, keep: torch.log(accumulation.sum_over(x, axes, keep_dims=keep)),
}
_CHOICES: dict[str, Reduce] = {"reduce_max": torch.amax, "reduce_min": torch.amin}
_ARGUMENTS: dict[str, Callable[..., Tensor]] = {"reduce_argmax": torch.argmax, "reduce_argmin": torch.argmin}


def _reduction(node: Node, reduce: Reduce) -> Kernel:
    axes, keep = node.axes("axes", of="x"), node.flag("keep_dims", False)
    if not axes:
        raise node.refuse("axes", "at least one axis", "none")
    return node.kernel(lambda x: reduce(x, axes, keep), "x")


@operation(*_SUMS)
def _sum(node: Node) -> Kernel:
    in_chunks = _SUMS_IN_CHUNKS.get(node.op) if node.low_precision else None
    return _reduction(node, in_chunks or _SUMS[node.op])


@operation(*_CHOICES, is_exact=True)
def _choice(node: Node) -> Kernel:
    return _reduction(node, _CHOICES[node.op])


@operation(*_ARGUMENTS)
def _argument(node: Node) -> Kernel:
    axis, keep = node.axis("axis", of="x", default=-1), node.flag("keep_dims", False)
    search = partial(_ARGUMENTS[node.op], dim=axis, keepdim=keep)
    return node.kernel(lambda x: search(x).to(torch.int32), "x")


@operation("softmax")
def _softmax(node: Node) -> Kernel:
    axis = node.axis("axis", of="x", default=-1)
    normalise = accumulation.softmax if node.low_precision else torch.softmax
    return node.kernel(lambda x: normalise(x, axis), "x")


@operation("cumsum")
def _cumsum(node: Node) -> Kernel:
    axis = node.axis("axis", of="x", default=0)
    exclusive, reverse = node.flag("exclusive", False), node.flag("reverse", False)

    def run(x: Tensor) -> Tensor:
        x = x.flip(axis) if reverse else x
        sums = torch.cumsum(x, axis, dtype=x.dtype)
        sums = sums - x if exclusive else sums
        return sums.flip(axis) if reverse else sums

    return node.kernel(run, "x")


@operation("topk", is_exact=True)
def _topk(node: Node) -> Kernel:
    k, axis = node.integer("k", 1), node.axis("axis", of="x", default=-1)
    largest, ordered = not node.flag("ascending", False), node.flag("sort", True)
    with_indices = node.flag("return_indices", True)

    def select(x: Tensor) -> Tensor | tuple[Tensor, ...]:
        values, indices = torch.topk(x, k, axis, largest=largest, sorted=ordered)
        return (values, indices.to(torch.int32)) if with_indices else values

    return node.kernel(select, "x")


@operation("argsort")
def _argsort(node: Node) -> Kernel:
    axis, descending = node.axis("axis", of="x", default=-1), not node.flag("ascending", False)
    return node.kernel(lambda x: torch.argsort(x, dim=axis, descending=descending, stable=True).to(torch.int32), "x")
