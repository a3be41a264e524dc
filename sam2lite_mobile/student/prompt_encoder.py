"""Graph `prompt_encoder`: points and box corners to one token per prompt slot."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sam2lite_mobile import contract

LABELS = (
    contract.LABEL_BACKGROUND,
    contract.LABEL_FOREGROUND,
    contract.LABEL_BOX_TOP_LEFT,
    contract.LABEL_BOX_BOTTOM_RIGHT,
)
GEOMETRY_CHANNELS = 2 + len(LABELS)
"""The first channels of a prompt token: x, y, then the label one-hot, untouched: the decoder draws maps from them."""


class PromptEncoder(nn.Module):
    """points (batch, P, 2) x, y in 0..1 and labels (batch, P) -> prompt_tokens (batch, P, 256), prompt_mask (batch, P).

    An empty slot (label -1) has an all-zero token and an additive mask of -1e4: a true no-op.
    The learned part sees the place as sines and cosines of 0.5 to 16 periods over the frame.
    """

    def __init__(self) -> None:
        super().__init__()
        octaves = 6
        self.project = nn.Linear(4 * octaves + len(LABELS), contract.CHANNELS - GEOMETRY_CHANNELS)
        frequencies = math.pi * 2 ** torch.arange(octaves, dtype=torch.float32)
        self.register_buffer("frequencies", frequencies.view(1, 1, octaves), persistent=False)
        self.register_buffer("label_values", torch.tensor(LABELS, dtype=torch.float32).view(1, 1, -1), persistent=False)

    def forward(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        frequencies, values = self.get_buffer("frequencies"), self.get_buffer("label_values")
        label = labels[:, :, None]  # (batch, P, 1)
        one_hot = torch.relu(1 - torch.abs(label - values))  # (batch, P, 4)
        used = torch.clamp(label + 1, 0, 1)
        x, y = points[:, :, 0:1], points[:, :, 1:2]
        angles = torch.cat([x * frequencies, y * frequencies], -1)
        learned = self.project(torch.cat([torch.sin(angles), torch.cos(angles), one_hot], -1))
        tokens = torch.cat([points, one_hot, learned], -1) * used
        return tokens, (used[:, :, 0] - 1) * -contract.MASKED
