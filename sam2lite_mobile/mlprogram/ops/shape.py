"""Operations that rearrange, select, join or make values without arithmetic."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation, to_tensor
from sam2lite_mobile.mlprogram.types import MAX_ELEMENTS


@operation("reshape", is_exact=True)
def _reshape(node: Node) -> Kernel:
    """A 0 in `shape` copies the size of x, a -1 takes what remains."""
    old = node.shape("x")
    wanted = node.integers("shape")
    if any(size == 0 and i >= len(old) for i, size in enumerate(wanted)):
        raise node.refuse("shape", f"zeros only within rank {len(old)}", str(wanted))
    new = tuple(old[i] if size == 0 else size for i, size in enumerate(wanted))
    return node.kernel(lambda x: x.reshape(new), "x")


@operation("flatten2d", is_exact=True)
def _flatten2d(node: Node) -> Kernel:
    shape, axis = node.shape("x"), node.integer("axis", 1)
    rows = prod(shape[:axis])
    return node.kernel(lambda x: x.reshape(rows, -1), "x")


@operation("transpose", is_exact=True)
def _transpose(node: Node) -> Kernel:
    order = tuple(node.positive(axis, of="x") for axis in node.integers("perm"))
    return node.kernel(lambda x: x.permute(order), "x")


@operation("expand_dims", is_exact=True)
def _expand_dims(node: Node) -> Kernel:
    shape, axes = list(node.shape("x")), node.integers("axes")
    rank = len(shape) + len(axes)
    if any(not -rank <= axis < rank for axis in axes):
        raise node.refuse("axes", f"axes of rank {rank}", str(axes))
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    new = tuple(shape)
    return node.kernel(lambda x: x.reshape(new), "x")


@operation("squeeze", is_exact=True)
def _squeeze(node: Node) -> Kernel:
    shape = node.shape("x")
    axes = node.axes("axes", of="x") if node.has("axes") else tuple(i for i, n in enumerate(shape) if n == 1)
    if any(shape[axis] != 1 for axis in axes):
        raise node.refuse("axes", "axes of size 1", f"{axes} of {shape}")
    new = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return node.kernel(lambda x: x.reshape(new), "x")


@operation("concat", is_exact=True)
def _concat(node: Node) -> Kernel:
    values, axis = node.operands("values"), node.integer("axis")
    if not node.flag("interleave", False):
        return Kernel(lambda *tensors: torch.cat(tensors, axis), values)
    axis %= len(values[0].type.shape)
    return Kernel(lambda *tensors: torch.stack(tensors, axis + 1).flatten(axis, axis + 1), values)


@operation("stack", is_exact=True)
def _stack(node: Node) -> Kernel:
    axis = node.integer("axis")
    return Kernel(lambda *tensors: torch.stack(tensors, axis), node.operands("values"))


@operation("split", is_exact=True)
def _split(node: Node) -> Kernel:
    axis = node.axis("axis", of="x")
    size = node.shape("x")[axis]
    if node.has("split_sizes"):
        sizes = list(node.integers("split_sizes"))
    else:
        count = node.integer("num_splits")
        if count < 1 or size % count:
            raise node.refuse("num_splits", f"a divisor of {size}", str(count))
        sizes = [size // count] * count
    return node.kernel(lambda x: torch.split(x, sizes, axis), "x")


def _ranges(node: Node) -> list[range | int]:
    """What each axis of x keeps: a range of positions, or one position that the axis is squeezed to."""
    shape = node.shape("x")
    rank = len(shape)
    begin, end = node.integers("begin"), node.integers("end")
    stride = node.integers("stride", (1,) * rank)
    no = (0,) * rank
    open_begin, open_end = node.integers("begin_mask", no), node.integers("end_mask", no)
    squeeze = node.integers("squeeze_mask", no)
    if {len(v) for v in (begin, end, stride, open_begin, open_end, squeeze)} != {rank} or 0 in stride:
        raise node.refuse("begin", f"{rank} numbers in each argument and no stride 0", f"{len(begin)}")
    kept: list[range | int] = []
    for i, size in enumerate(shape):
        if squeeze[i]:
            if not -size <= begin[i] < size:
                raise node.refuse("begin", f"a position in {size}", str(begin[i]))
            kept.append(begin[i] % size)
            continue
        window = slice(None if open_begin[i] else begin[i], None if open_end[i] else end[i], stride[i])
        kept.append(range(*window.indices(size)))
    return kept


@operation("slice_by_index", is_exact=True)
def _slice_by_index(node: Node) -> Kernel:
    """begin, end, stride as in NumPy; a set bit in a mask opens that end or squeezes that axis."""
    kept = _ranges(node)
    index = tuple(
        k if isinstance(k, int) else slice(k.start, k.stop, k.step) if k.step > 0 else slice(None) for k in kept
    )
    backwards = [
        (axis, torch.tensor(list(k), dtype=torch.int64))
        for axis, k in enumerate(kept)
        if isinstance(k, range) and k.step < 0
    ]

    def cut(x: Tensor) -> Tensor:
        for axis, positions in backwards:  # torch has no negative strides
            x = x.index_select(axis, positions)
        return x[index]

    return node.kernel(cut, "x")


@operation("slice_by_size", is_exact=True)
def _slice_by_size(node: Node) -> Kernel:
    """A size of -1 takes what remains."""
    shape, begin, size = node.shape("x"), node.integers("begin"), node.integers("size")
    if not len(begin) == len(size) == len(shape):
        raise node.refuse("begin", f"{len(shape)} numbers", f"{len(begin)}")
    index = tuple(
        slice(b, n if s == -1 else b + s)
        for b, s, n in zip((b % n if n else b for b, n in zip(begin, shape, strict=True)), size, shape, strict=True)
    )
    return node.kernel(lambda x: x[index], "x")


@operation("slice_update", is_exact=True)
def _slice_update(node: Node) -> Kernel:
    """x with the elements that slice_by_index would give replaced by `update`."""
    kept = _ranges(node)
    if any(isinstance(k, range) and k.step < 0 for k in kept):
        raise node.refuse("stride", "positive strides", "a negative one")
    index = tuple(k if isinstance(k, int) else slice(k.start, k.stop, k.step) for k in kept)

    def write(x: Tensor, update: Tensor) -> Tensor:
        y = x.clone()
        y[index] = update
        return y

    return node.kernel(write, "x", "update")


@operation("crop", is_exact=True)
def _crop(node: Node) -> Kernel:
    """Takes [before, after] elements off the last two axes."""
    (top, bottom), (left, right) = node.integers("crop_height"), node.integers("crop_width")
    height, width = node.shape("x")[-2:]
    return node.kernel(lambda x: x[..., top : height - bottom, left : width - right], "x")


@operation("tile", is_exact=True)
def _tile(node: Node) -> Kernel:
    repeats = node.integers("reps")
    _check_size(node, "reps", [n * max(r, 1) for n, r in zip(node.shape("x"), repeats, strict=True)])
    return node.kernel(lambda x: x.repeat(repeats), "x")


@operation("reverse", is_exact=True)
def _reverse(node: Node) -> Kernel:
    axes = node.axes("axes", of="x")
    return node.kernel(lambda x: x.flip(axes), "x")


@operation("pad", is_exact=True)
def _pad(node: Node) -> Kernel:
    """`pad` holds (before, after) of the last axes, the first of them first."""
    shape, flat = node.shape("x"), node.integers("pad")
    skipped = len(shape) - len(flat) // 2
    if len(flat) % 2 or skipped < 0:
        raise node.refuse("pad", f"pairs for at most {len(shape)} axes", f"{len(flat)} numbers")
    pairs = [(0, 0)] * skipped + list(zip(flat[::2], flat[1::2], strict=True))
    _check_size(node, "pad", [size + before + after for size, (before, after) in zip(shape, pairs, strict=True)])
    mode = node.text("mode", "constant", among=("constant", "reflect", "replicate"))
    if mode == "constant":
        fill = node.number("constant_val", 0.0)
        last_first = [amount for pair in reversed(pairs) for amount in pair]  # torch's order
        return node.kernel(lambda x: F.pad(x, last_first, value=fill), "x")
    sources = [  # where each padded axis reads
        (axis, torch.from_numpy(np.pad(np.arange(shape[axis]), pair, mode="reflect" if mode == "reflect" else "edge")))
        for axis, pair in enumerate(pairs)
        if any(pair)
    ]

    def pad(x: Tensor) -> Tensor:
        for axis, positions in sources:
            x = x.index_select(axis, positions)
        return x

    return node.kernel(pad, "x")


@operation("pixel_shuffle", is_exact=True)
def _pixel_shuffle(node: Node) -> Kernel:
    factor = node.integer("upscale_factor")
    return node.kernel(lambda x: F.pixel_shuffle(x, factor), "x")


@operation("pixel_unshuffle", is_exact=True)
def _pixel_unshuffle(node: Node) -> Kernel:
    factor = node.integer("downscale_factor")
    return node.kernel(lambda x: F.pixel_unshuffle(x, factor), "x")


@operation("depth_to_space", "space_to_depth", is_exact=True)
def _depth_space(node: Node) -> Kernel:
    """Channels are ordered block row, block column, channel, unlike pixel_shuffle's channel first."""
    block = node.integer("block_size")
    n, c, h, w = node.shape("x")

    def to_space(x: Tensor) -> Tensor:
        y = x.reshape(n, block, block, c // block**2, h, w)
        return y.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)

    def to_depth(x: Tensor) -> Tensor:
        y = x.reshape(n, c, h // block, block, w // block, block)
        return y.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)

    return node.kernel(to_space if node.op == "depth_to_space" else to_depth, "x")


@operation("shape", is_exact=True)
def _shape(node: Node) -> Kernel:
    """Known when the program is loaded, since every shape is static."""
    sizes = torch.tensor(node.shape("x"), dtype=torch.int32)
    return Kernel(lambda: sizes, ())


@operation("fill", is_exact=True)
def _fill(node: Node) -> Kernel:
    return _filled(node, node.integers("shape"), "value")


@operation("fill_like", is_exact=True)
def _fill_like(node: Node) -> Kernel:
    return _filled(node, node.shape("ref_tensor"), "value")


def _filled(node: Node, shape: tuple[int, ...], key: str) -> Kernel:
    _check_size(node, "shape", list(shape))
    value = node.tensor(key).reshape(()) if node.has(key) else torch.zeros(())
    return Kernel(lambda: value.expand(shape).clone(), ())


@operation("range_1d", is_exact=True)
def _range(node: Node) -> Kernel:
    start, end, step = (to_tensor(node.tensor(key).numpy()) for key in ("start", "end", "step"))
    if float(step) == 0 or abs((float(end) - float(start)) / float(step)) > MAX_ELEMENTS:
        raise node.refuse("step", f"at most {MAX_ELEMENTS} elements", str(float(step)))
    values = torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)
    return Kernel(lambda: values, ())


@operation("one_hot", is_exact=True)
def _one_hot(node: Node) -> Kernel:
    size, axis = node.integer("one_hot_vector_size"), node.integer("axis", -1)
    on = node.tensor("on_value").reshape(()) if node.has("on_value") else torch.tensor(1, dtype=torch.int32)
    off = node.tensor("off_value").reshape(()) if node.has("off_value") else torch.zeros_like(on)
    _check_size(node, "one_hot_vector_size", [*node.shape("indices"), size])
    axis %= node.rank("indices") + 1
    places = torch.arange(size).reshape([-1 if i == axis else 1 for i in range(node.rank("indices") + 1)])
    return node.kernel(lambda indices: torch.where(indices.unsqueeze(axis) == places, on, off), "indices")


@operation("band_part", is_exact=True)
def _band_part(node: Node) -> Kernel:
    """Keeps `lower` diagonals below the main one and `upper` above it; -1 keeps all."""
    lower, upper = node.integer("lower", -1), node.integer("upper", -1)

    def keep(x: Tensor) -> Tensor:
        x = torch.tril(x, upper) if upper >= 0 else x
        return torch.triu(x, -lower) if lower >= 0 else x

    return node.kernel(keep, "x")


def _check_size(node: Node, key: str, shape: list[int]) -> None:
    if min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
        raise node.refuse(key, f"a result of at most {MAX_ELEMENTS} elements", str(shape))
