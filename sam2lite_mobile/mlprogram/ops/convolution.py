"""Convolution, transposed convolution and pooling over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.mlprogram.ops import accumulation
from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX_POOL: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_PAD_TYPES = ("valid", "same", "same_lower", "custom")


@dataclass(frozen=True)
class _Window:
    """How a kernel moves over the spatial axes. `pads`: elements (before, after) each axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def symmetric(self) -> tuple[int, ...] | None:
        """The padding as torch takes it, or None where before and after differ."""
        return tuple(a for a, _ in self.pads) if all(a == b for a, b in self.pads) else None

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """`x` with its spatial axes padded. MIL lists pads first axis first, torch last axis first."""
        flat = [amount for pair in reversed(self.pads) for amount in pair]
        return F.pad(x, flat, value=value) if any(flat) else x


def _window(node: Node, kernel: tuple[int, ...]) -> _Window:
    n = len(kernel)
    ones = (1,) * n
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    size = node.shape("x")[2:]
    if not 1 <= n <= 3 or not len(size) == len(strides) == len(dilations) == n or min(strides + dilations) < 1:
        raise node.refuse("kernel", "one to three spatial axes with positive strides", f"{kernel} on {size}")
    kind = node.text("pad_type", "valid", among=_PAD_TYPES)
    if kind == "custom":
        flat = node.integers("pad", (0,) * (2 * n))
        if len(flat) != 2 * n:
            raise node.refuse("pad", f"{2 * n} numbers", str(len(flat)))
        return _Window(kernel, strides, dilations, tuple(zip(flat[::2], flat[1::2], strict=True)))
    pads = [(0, 0)] * n
    if kind != "valid":
        for i in range(n):
            span = (kernel[i] - 1) * dilations[i] + 1
            missing = max((-(-size[i] // strides[i]) - 1) * strides[i] + span - size[i], 0)
            less, more = missing // 2, missing - missing // 2
            pads[i] = (less, more) if kind == "same" else (more, less)  # where the odd element goes
    return _Window(kernel, strides, dilations, tuple(pads))


@operation("conv")
def _conv(node: Node) -> Kernel:
    """weight: (C_out, C_in / groups, *kernel)."""
    window = _window(node, node.shape("weight")[2:])
    groups, function = node.integer("groups", 1), _CONV[len(window.kernel)]
    strides, dilations, symmetric = window.strides, window.dilations, window.symmetric

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if symmetric is not None:
            return function(x, weight, bias, strides, symmetric, dilations, groups)
        return function(window.pad(x), weight, bias, strides, 0, dilations, groups)

    def in_chunks(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        result = accumulation.channels(convolve, x, weight, groups=groups, transposed=False)
        return result if bias is None else result + bias.reshape([-1] + [1] * len(strides))

    return node.kernel(in_chunks if node.low_precision else convolve, "x", "weight", "bias")


@operation("conv_transpose")
def _conv_transpose(node: Node) -> Kernel:
    """weight: (C_in, C_out / groups, *kernel). Padding crops the full result; `output_shape` may ask for more."""
    kernel = node.shape("weight")[2:]
    n, size, ones = len(kernel), node.shape("x")[2:], (1,) * len(kernel)
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    groups, function = node.integer("groups", 1), _CONV_TRANSPOSE[n]
    full = [(size[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(n)]
    kind = node.text("pad_type", "valid", among=("valid", "same", "custom"))
    pads = node.integers("pad", (0,) * 2 * n) if kind == "custom" else (0,) * 2 * n
    if kind == "same":
        want = [size[i] * strides[i] for i in range(n)]
        starts = [max(full[i] - want[i], 0) // 2 for i in range(n)]
    else:
        starts = list(pads[::2])
        want = [full[i] - pads[2 * i] - pads[2 * i + 1] for i in range(n)]
    if node.has("output_shape"):
        want = list(node.integers("output_shape")[2:])
    if any(not 0 <= want[i] <= full[i] - starts[i] + strides[i] for i in range(n)) or min(starts) < 0:
        raise node.refuse("output_shape", f"at most {full} after cropping", str(want))

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        # torch's output_padding is what lies beyond the full result: only the bias reaches it
        extra = [max(starts[i] + want[i] - full[i], 0) for i in range(n)]
        y = function(x, weight, bias, strides, 0, extra, groups, dilations)
        for i in range(n):
            y = y.narrow(2 + i, starts[i], want[i])
        return y if y.is_contiguous() else y.contiguous()

    def in_chunks(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        result = accumulation.channels(convolve, x, weight, groups=groups, transposed=True)
        return result if bias is None else result + bias.reshape([-1] + [1] * n)

    return node.kernel(in_chunks if node.low_precision else convolve, "x", "weight", "bias")


@operation("avg_pool")
def _avg_pool(node: Node) -> Kernel:
    window = _window(node, node.integers("kernel_sizes"))
    function, kernel, strides = _AVG_POOL[len(window.kernel)], window.kernel, window.strides
    ceil, exclude = node.flag("ceil_mode", False), node.flag("exclude_padding_from_average", False)
    native = _torch_padding(window)
    if native is not None:
        return node.kernel(lambda x: function(x, kernel, strides, native, ceil, not exclude), "x")

    def pool(x: Tensor) -> Tensor:
        mean = function(window.pad(x), kernel, strides, 0, ceil)
        return mean / function(window.pad(torch.ones_like(x)), kernel, strides, 0, ceil) if exclude else mean

    return node.kernel(pool, "x")


@operation("max_pool", is_exact=True)
def _max_pool(node: Node) -> Kernel:
    window = _window(node, node.integers("kernel_sizes"))
    function, kernel, strides = _MAX_POOL[len(window.kernel)], window.kernel, window.strides
    ceil, native = node.flag("ceil_mode", False), _torch_padding(window)
    if native is not None:
        return node.kernel(lambda x: function(x, kernel, strides, native, 1, ceil), "x")
    return node.kernel(lambda x: function(window.pad(x, -torch.inf), kernel, strides, 0, 1, ceil), "x")


def _torch_padding(window: _Window) -> tuple[int, ...] | None:
    """Padding that torch's pooling can do itself: symmetric and at most half a kernel."""
    pads = window.symmetric
    return pads if pads is not None and all(2 * p <= k for p, k in zip(pads, window.kernel, strict=True)) else None
