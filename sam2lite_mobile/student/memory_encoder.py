"""Graph `memory_encoder`: a frame's features and mask to 256 memory tokens on the 16 x 16 grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.student.constants import (
    POSITION_CHANNELS,
    area_matrix,
    gaussian_code,
    isometry,
    space_to_cell_kernel,
)
from sam2lite_mobile.student.layers import Mlp, tokens_of

CONTENT_CHANNELS = contract.CHANNELS - POSITION_CHANNELS
LEARNED_CHANNELS = contract.CHANNELS - contract.MASK_CHANNELS
ENTROPY_FLOOR = 1e-4
"""Added inside the logarithm; exact enough in fp16, where smaller values lose their digits."""
NORM_FLOOR = 1e-4
NORM_SCALE = 1 / 16
"""Applied before squaring: the squares of 224 channels of a trained student sum to over 65504, where fp16 ends."""
PATTERN_GRID = contract.MEMORY_GRID * contract.CELL_PATTERN


def unit(x: Tensor) -> Tensor:
    """x scaled to length 1 along its last axis. The floor keeps zero vectors finite in fp16 as well."""
    x = x * NORM_SCALE
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + NORM_FLOOR)


def pool(image_map: Tensor, rows: Tensor) -> Tensor:
    """(batch, channels, n, n) area-averaged to (batch, channels, m, m) by a constant matrix (m, n)."""
    return torch.matmul(torch.matmul(rows, image_map), rows.transpose(0, 1))


class MemoryEncoder(nn.Module):
    """features (batch, 256, g, g), mask_logits (batch, 1, R/4, R/4) -> keys, values (batch, 256, 256), uncertainty.

    A key is 224 content channels of unit length, projected so that they keep the cosines of the features, and 32
    channels of the place's code. A value is the mask's mean over the cell, its 4 x 4 pattern, and 239 learned channels.
    uncertainty (batch, 256): mean binary entropy over the cell, in bits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.content = nn.Linear(contract.CHANNELS, CONTENT_CHANNELS)
        self.content.weight.data.copy_(torch.from_numpy(isometry(CONTENT_CHANNELS, contract.CHANNELS, seed=2)))
        nn.init.zeros_(self.content.bias)
        self.learned = Mlp(contract.CHANNELS + contract.MASK_CHANNELS, contract.CHANNELS, LEARNED_CHANNELS)
        grid = contract.MEMORY_GRID
        self.register_buffer("place", torch.from_numpy(gaussian_code(grid))[None], persistent=False)
        self.register_buffer("to_pattern", torch.from_numpy(space_to_cell_kernel()), persistent=False)
        for size in contract.SIZES:
            g, m = size // contract.STRIDE, size // contract.MASK_STRIDE
            self.register_buffer(f"feature_rows_{g}", torch.from_numpy(area_matrix(grid, g)), persistent=False)
            self.register_buffer(f"cell_rows_{g}", torch.from_numpy(area_matrix(grid, m)), persistent=False)
            self.register_buffer(f"pattern_rows_{g}", torch.from_numpy(area_matrix(PATTERN_GRID, m)), persistent=False)

    def forward(self, features: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side = features.shape[-1]
        pooled = features
        if side != contract.MEMORY_GRID:
            pooled = pool(features, self.get_buffer(f"feature_rows_{side}"))
        tokens = tokens_of(pooled)
        content = unit(self.content(tokens))
        place = self.get_buffer("place").expand(content.shape[0], -1, -1)
        keys = torch.cat([content, place], -1)

        mask = torch.sigmoid(mask_logits)
        fine = mask
        if mask.shape[-1] != PATTERN_GRID:
            fine = pool(mask, self.get_buffer(f"pattern_rows_{side}"))
        mean = F.avg_pool2d(fine, contract.CELL_PATTERN, contract.CELL_PATTERN)
        pattern = F.conv2d(fine, self.get_buffer("to_pattern"), stride=contract.CELL_PATTERN)
        in_cell = tokens_of(torch.cat([mean, pattern], 1))
        values = torch.cat([in_cell, self.learned(torch.cat([tokens, in_cell], -1))], -1)

        other = 1 - mask
        entropy = -(mask * torch.log2(mask + ENTROPY_FLOOR) + other * torch.log2(other + ENTROPY_FLOOR))
        uncertainty = pool(torch.clamp(entropy, 0, 1), self.get_buffer(f"cell_rows_{side}"))
        return keys, values, uncertainty.flatten(1)
