"""Quantization of values while running, and constants that are stored compressed."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation
from sam2lite_mobile.mlprogram.types import unpack_bits

_RANGES = {"int8": (-128, 127, torch.int8), "uint8": (0, 255, torch.uint8)}


def _along_axis(node: Node, key: str, *, of: str) -> Tensor:
    """A scalar or vector parameter as float32, shaped so that a vector lies along the constant `axis` of `of`."""
    values = node.tensor(key).to(torch.float32)
    if values.dim() == 0 or (values.dim() == 1 and values.numel() == 1 and not node.has("axis")):
        return values.reshape(())
    axis = node.axis("axis", of=of)
    if values.dim() != 1 or values.numel() not in (1, node.shape(of)[axis]):
        raise node.refuse(key, f"one number for each of axis {axis}", str(list(values.shape)))
    return values.reshape([-1 if i == axis else 1 for i in range(node.rank(of))])


@operation("quantize", is_exact=True)
def _quantize(node: Node) -> Kernel:
    """clip(round(input / scale) + zero_point), halves to even. Counts the results that are clipped."""
    low, high, dtype = _RANGES[node.text("output_dtype", among=tuple(_RANGES))]
    scale = _along_axis(node, "scale", of="input")
    zero = _along_axis(node, "zero_point", of="input") if node.has("zero_point") else None
    saturated = node.saturated

    def quantize(x: Tensor) -> Tensor:
        steps = torch.round(x / scale)
        if zero is not None:
            steps += zero
        least, most = torch.aminmax(steps)
        if least < low or most > high:
            saturated(int(torch.count_nonzero((steps < low) | (steps > high))))
            steps.clamp_(low, high)
        return steps.to(dtype)

    return node.kernel(quantize, "input")


@operation("dequantize")
def _dequantize(node: Node) -> Kernel:
    """scale * (input - zero_point)."""
    scale = _along_axis(node, "scale", of="input")
    zero = _along_axis(node, "zero_point", of="input") if node.has("zero_point") else None

    def dequantize(x: Tensor) -> Tensor:
        values = x.to(torch.float32)
        return values.mul_(scale) if zero is None else values.sub_(zero).mul_(scale)

    return node.kernel(dequantize, "input")


@operation("constexpr_affine_dequantize")
def _affine(node: Node) -> Kernel:
    scale = _along_axis(node, "scale", of="quantized_data")
    zero = _along_axis(node, "zero_point", of="quantized_data")
    return node.kernel(lambda data: (data.to(torch.float32) - zero) * scale, "quantized_data")


@operation("constexpr_cast", is_exact=True)
def _cast(node: Node) -> Kernel:
    return node.kernel(lambda data: data, "source_val")  # fp16 to fp32


@operation("constexpr_blockwise_shift_scale")
def _blockwise(node: Node) -> Kernel:
    """scale * (data - offset); scale and offset have data's rank and one value for each block (iOS 18)."""
    shape = node.shape("data")
    scale = _spread(node, "scale", shape)
    offset = _spread(node, "offset", shape) if node.has("offset") else torch.zeros(())
    return node.kernel(lambda data: (data.to(torch.float32) - offset) * scale, "data")


@operation("constexpr_sparse_blockwise_shift_scale")
def _sparse_blockwise(node: Node) -> Kernel:
    """The blockwise form for the non-zero elements alone; returns the mask and these elements (iOS 18)."""
    shape = node.shape("data_mask")
    scale = _spread(node, "scale", shape)
    offset = _spread(node, "offset", shape) if node.has("offset") else torch.zeros(shape)

    def run(mask: Tensor, data: Tensor) -> tuple[Tensor, ...]:
        chosen = mask.bool()
        return mask, (data.to(torch.float32) - offset[chosen]) * scale[chosen]

    return node.kernel(run, "data_mask", "nonzero_data")


@operation("constexpr_lut_to_dense", is_exact=True)
def _palette(node: Node) -> Kernel:
    if node.has("shape"):
        return _flat_palette(node)
    dense = _along_vector_axis(node, _look_up(node, node.tensor("indices").long()))
    return Kernel(lambda: dense, ())


def _flat_palette(node: Node) -> Kernel:
    """iOS 16: one table, bit-packed indices of log2(entries) bits, and the shape apart."""
    table, shape = node.tensor("lut"), node.integers("shape")
    packed = np.asarray(node.tensor("indices"))
    bits, count = (table.numel() - 1).bit_length(), prod(shape)
    if packed.dtype != np.uint8 or not 1 <= bits <= 8 or packed.size != -(-count * bits // 8):
        raise node.refuse("indices", f"{count} indices of {bits} bits", f"{packed.size} bytes")
    indices = torch.from_numpy(unpack_bits(packed, count=count, bits=bits)).long()
    return Kernel(lambda: table[indices].reshape(shape), ())


@operation("constexpr_lut_to_sparse", is_exact=True)
def _sparse_palette(node: Node) -> Kernel:
    """Palette indices for the non-zero elements alone; returns the mask and the values (iOS 18)."""
    mask = node.tensor("indices_mask").bool()
    dense = torch.zeros(mask.shape, dtype=torch.int64)
    dense[mask] = node.tensor("indices_nonzero_data").long()
    vectors = _look_up(node, dense)
    wide = _along_vector_axis(node, mask.unsqueeze(-1).expand(vectors.shape))
    values = _along_vector_axis(node, vectors)[wide]
    return Kernel(lambda: (wide.to(torch.uint8), values), ())


@operation("constexpr_sparse_to_dense", is_exact=True)
def _sparse(node: Node) -> Kernel:
    """Non-zero elements put where the mask has ones: bit-packed with a shape (iOS 16) or an array (iOS 18)."""
    mask = node.tensor("mask")
    if node.has("shape"):
        shape = node.integers("shape")
        packed = np.asarray(mask)
        if packed.dtype != np.uint8 or packed.size != -(-prod(shape) // 8):
            raise node.refuse("mask", f"bits for {list(shape)}", f"{packed.size} bytes")
        mask = torch.from_numpy(unpack_bits(packed, count=prod(shape), bits=1)).reshape(shape)
    chosen = mask.bool()

    def run(data: Tensor) -> Tensor:
        dense = torch.zeros(chosen.shape, dtype=data.dtype)
        dense[chosen] = data
        return dense

    return node.kernel(run, "nonzero_data")


def _spread(node: Node, key: str, shape: tuple[int, ...]) -> Tensor:
    """One value for each element from one value for each block."""
    values = node.tensor(key).to(torch.float32)
    if values.dim() != len(shape) or any(b < 1 or n % b for n, b in zip(shape, values.shape, strict=True)):
        raise node.refuse(key, f"blocks that divide {list(shape)}", str(list(values.shape)))
    for axis, size in enumerate(shape):
        values = values.repeat_interleave(size // values.shape[axis], axis)
    return values


def _look_up(node: Node, indices: Tensor) -> Tensor:
    """(*indices, vector): each element's entry of its own block's table. lut: (*blocks, entries, vector)."""
    table = node.tensor("lut")
    blocks, (entries, size) = table.shape[:-2], table.shape[-2:]
    if len(blocks) != indices.dim() or any(b < 1 or n % b for n, b in zip(indices.shape, blocks, strict=True)):
        raise node.refuse("lut", f"tables whose blocks divide {list(indices.shape)}", str(list(table.shape)))
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < entries:
        raise node.refuse("indices", f"0 to {entries - 1}", f"{int(indices.min())} to {int(indices.max())}")
    number = torch.zeros(indices.shape, dtype=torch.int64)  # which table an element reads
    for axis, (n, b) in enumerate(zip(indices.shape, blocks, strict=True)):
        block = torch.arange(n) // (n // b)
        number = number * b + block.reshape([-1 if i == axis else 1 for i in range(indices.dim())])
    return table.reshape(-1, size)[(number * entries + indices).reshape(-1)].reshape(*indices.shape, size)


def _along_vector_axis(node: Node, vectors: Tensor) -> Tensor:
    """(*indices, vector) laid out along `vector_axis`, whose length the vectors multiply."""
    if vectors.shape[-1] == 1:
        return vectors.squeeze(-1)
    axis, rank = node.integer("vector_axis"), vectors.dim() - 1
    if not -rank <= axis < rank:
        raise node.refuse("vector_axis", f"an axis of rank {rank}", str(axis))
    axis %= rank
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)
