"""The operations of ML Programs, one file per family. Importing this package registers all of them."""

from __future__ import annotations

from sam2lite_mobile.mlprogram.ops import (
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    quantization,
    reduction,
    resampling,
    shape,
)
from sam2lite_mobile.mlprogram.ops.registry import OPERATIONS, Kernel, Node, Operand, Operation, to_tensor

__all__ = [
    "OPERATIONS",
    "Kernel",
    "Node",
    "Operand",
    "Operation",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "normalization",
    "quantization",
    "reduction",
    "resampling",
    "shape",
    "to_tensor",
]
