"""Gather and scatter: values read from, or combined into, places that other values name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation

Combine = Callable[[Tensor, int, Tensor, Tensor], Tensor]

_MODES: dict[str, Combine] = {
    "update": lambda data, axis, index, new: data.scatter(axis, index, new),
    "add": lambda data, axis, index, new: data.scatter_add(axis, index, new),
    "sub": lambda data, axis, index, new: data.scatter_add(axis, index, -new),
    "mul": lambda data, axis, index, new: data.scatter_reduce(axis, index, new, "prod"),
    "div": lambda data, axis, index, new: data.scatter_reduce(axis, index, 1.0 / new, "prod"),
    "max": lambda data, axis, index, new: data.scatter_reduce(axis, index, new, "amax"),
    "min": lambda data, axis, index, new: data.scatter_reduce(axis, index, new, "amin"),
}


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Indices as int64, negative ones counted from the end (up to iOS 16; undefined later)."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@operation("gather", is_exact=True)
def _gather(node: Node) -> Kernel:
    """Result: x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:]."""
    shape, index_shape = node.shape("x"), node.shape("indices")
    axis, batch = node.axis("axis", of="x", default=0), node.integer("batch_dims", 0)
    size = shape[axis]
    if not 0 <= batch <= min(axis, len(index_shape)):
        raise node.refuse("batch_dims", f"0 to {min(axis, len(index_shape))}", str(batch))
    result = shape[:axis] + index_shape[batch:] + shape[axis + 1 :]

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        places = _wrapped(indices, size)
        if batch == 0:
            return x.index_select(axis, places.reshape(-1)).reshape(result)
        rows = x.flatten(0, batch - 1), places.flatten(0, batch - 1)
        picked = [row.index_select(axis - batch, p.reshape(-1)) for row, p in zip(*rows, strict=True)]
        return torch.stack(picked).reshape(result)

    return node.kernel(gather, "x", "indices")


@operation("gather_along_axis", is_exact=True)
def _gather_along_axis(node: Node) -> Kernel:
    axis = node.axis("axis", of="x", default=0)
    size = node.shape("x")[axis]
    return node.kernel(lambda x, indices: torch.gather(x, axis, _wrapped(indices, size)), "x", "indices")


@operation("gather_nd", is_exact=True)
def _gather_nd(node: Node) -> Kernel:
    """The last axis of `indices` names a place in the leading axes of x."""
    if node.integer("batch_dims", 0):
        raise node.refuse("batch_dims", "0", str(node.integer("batch_dims")))
    shape = node.shape("x")

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        return x[tuple(_wrapped(part, shape[i]) for i, part in enumerate(indices.unbind(-1)))]

    return node.kernel(gather, "x", "indices")


@operation("scatter")
def _scatter(node: Node) -> Kernel:
    """data with the slices at one-dimensional `indices` of `axis` combined with `updates`."""
    axis = node.axis("axis", of="data", default=0)
    size, combine = node.shape("data")[axis], _mode(node)
    along = [-1 if i == axis else 1 for i in range(node.rank("data"))]

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = _wrapped(indices, size).reshape(along).expand(updates.shape)
        return combine(data, axis, places, updates)

    return node.kernel(scatter, "data", "indices", "updates")


@operation("scatter_along_axis")
def _scatter_along_axis(node: Node) -> Kernel:
    axis = node.axis("axis", of="data", default=0)
    size, combine = node.shape("data")[axis], _mode(node)
    return node.kernel(
        lambda data, indices, updates: combine(data, axis, _wrapped(indices, size), updates),
        "data",
        "indices",
        "updates",
    )


@operation("scatter_nd")
def _scatter_nd(node: Node) -> Kernel:
    """The last axis of `indices` names a place in the leading axes of data."""
    shape, depth = node.shape("data"), node.shape("indices")[-1]
    combine = _mode(node)
    if not 1 <= depth <= len(shape):
        raise node.refuse("indices", f"1 to {len(shape)} numbers a place", str(depth))

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        flat = torch.zeros(indices.shape[:-1], dtype=torch.int64)
        for i, part in enumerate(indices.unbind(-1)):
            flat = flat * shape[i] + _wrapped(part, shape[i])
        rows, new = data.reshape(-1, *shape[depth:]), updates.reshape(-1, *shape[depth:])
        places = flat.reshape([-1] + [1] * (len(shape) - depth)).expand(new.shape)
        return combine(rows, 0, places, new).reshape(shape)

    return node.kernel(scatter, "data", "indices", "updates")


def _mode(node: Node) -> Combine:
    return _MODES[node.text("mode", "add", among=tuple(_MODES))]
