"""Up-sampling, resizing and sampling at given coordinates."""

from __future__ import annotations

from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation

_SAMPLING = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def _scaled_size(node: Node) -> tuple[int, int]:
    height, width = node.shape("x")[-2:]
    return (
        floor(height * node.number("scale_factor_height", 1.0)),
        floor(width * node.number("scale_factor_width", 1.0)),
    )


def _resize(node: Node, size: tuple[int, int], *, sampling: str) -> Kernel:
    """Bilinear over the last two axes of a rank-3 or rank-4 value."""
    if min(size) < 1 or node.rank("x") != 4:
        raise node.refuse("x", "rank 4 and a positive target size", f"rank {node.rank('x')}, {size}")
    if sampling in ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        corners = sampling == "STRICT_ALIGN_CORNERS"
        return node.kernel(lambda x: F.interpolate(x, size, mode="bilinear", align_corners=corners), "x")
    taps = [_taps(n, out, sampling) for n, out in zip(node.shape("x")[-2:], size, strict=True)]

    def resize(x: Tensor) -> Tensor:
        for axis, (lower, upper, share) in zip((2, 3), taps, strict=True):
            weight = share.reshape(-1, 1) if axis == 2 else share
            low, high = x.index_select(axis, lower), x.index_select(axis, upper)
            x = torch.lerp(low, high, weight.expand_as(low))
        return x

    return node.kernel(resize, "x")


def _taps(size: int, target: int, sampling: str) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position: the input positions beside its grid point, and the share of the second.

    The grid points are those of resize_bilinear in coremltools' MIL documentation; "CORNER_ORIGIN" is
    upsample_bilinear with neither aligned corners nor half-pixel centres.
    """
    i = torch.arange(target, dtype=torch.float64)
    if sampling == "CORNER_ORIGIN":
        grid = i * size / target
    elif sampling == "ALIGN_CORNERS":
        grid = i * (size - 1) / (target - 1) if target > 1 else (i + 1) * (size - 1) / 2
    elif sampling == "DEFAULT":
        grid = i * (size - size / target) / max(target - 1, 1)
    else:  # OFFSET_CORNERS
        delta = max(1, size - 1) / target
        grid = 0.5 * delta + i * delta
    grid = grid.clamp(0, size - 1)
    lower = grid.floor().long()
    return lower, (lower + 1).clamp(max=size - 1), (grid - lower).to(torch.float32)


@operation("upsample_bilinear")
def _upsample_bilinear(node: Node) -> Kernel:
    corners = node.flag("align_corners", True)
    centres = node.flag("half_pixel_centers", not corners)
    sampling = "STRICT_ALIGN_CORNERS" if corners else "UNALIGN_CORNERS" if centres else "CORNER_ORIGIN"
    return _resize(node, _scaled_size(node), sampling=sampling)


@operation("resize_bilinear")
def _resize_bilinear(node: Node) -> Kernel:
    size = node.integer("target_size_height", 1), node.integer("target_size_width", 1)
    return _resize(node, size, sampling=node.text("sampling_mode", "DEFAULT", among=_SAMPLING))


@operation("upsample_nearest_neighbor", is_exact=True)
def _upsample_nearest(node: Node) -> Kernel:
    size = _scaled_size(node)
    return node.kernel(lambda x: F.interpolate(x, size, mode="nearest"), "x")


@operation("resize_nearest_neighbor", is_exact=True)
def _resize_nearest(node: Node) -> Kernel:
    size = node.integer("target_size_height"), node.integer("target_size_width")
    return node.kernel(lambda x: F.interpolate(x, size, mode="nearest"), "x")


@operation("resample")
def _resample(node: Node) -> Kernel:
    """x: (batch, channels, height, width) sampled at coordinates (batch, out height, out width, 2), x before y."""
    corners = node.flag("align_corners")
    mode = node.text("sampling_mode", among=("bilinear", "nearest"))
    padding = node.text("padding_mode", among=("constant", "border", "reflection", "symmetric"))
    outside = node.number("padding_value", 0.0) if padding == "constant" else 0.0
    modes = {"constant": "zeros", "border": "border"}
    modes["reflection" if corners else "symmetric"] = "reflection"  # torch mirrors at pixel centres only if aligned
    if padding not in modes:
        raise node.refuse("padding_mode", ", ".join(modes), padding)
    torch_padding = modes[padding]
    height, width = node.shape("x")[2:]
    unit = node.text(
        "coordinates_mode", among=("normalized_minus_one_to_one", "normalized_zero_to_one", "unnormalized")
    )
    extent = torch.tensor([width, height], dtype=torch.float32)

    def normalised(places: Tensor) -> Tensor:
        places = places.to(torch.float32)
        if unit == "normalized_minus_one_to_one":
            return places
        if unit == "normalized_zero_to_one":
            return 2.0 * places - 1.0
        return 2.0 * places / (extent - 1.0) - 1.0 if corners else (2.0 * places + 1.0) / extent - 1.0

    def sample(x: Tensor, places: Tensor) -> Tensor:
        shifted = x - outside if outside else x
        y = F.grid_sample(shifted, normalised(places), mode=mode, padding_mode=torch_padding, align_corners=corners)
        return y + outside if outside else y

    return node.kernel(sample, "x", "coordinates")
