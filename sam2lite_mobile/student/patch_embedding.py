"""Patch embeddings: image to stride-16 tokens, with the stride-4 and stride-8 maps that masks need.

`ConvolutionalStem` has the shape of EfficientNet-Lite0 up to its eleventh block (Tan and Le 2019; Lite variant:
ReLU6, no squeeze-excite), with batch norm folded into the convolutions: batches of a few clips cannot estimate it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile import contract


class PatchEmbedding(Protocol):
    """image (batch, 3, R, R), normalised -> tokens map (batch, channels, g, g), stride-8 map, stride-4 map."""

    channels: int
    channels_8: int
    channels_4: int

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True)
class Stage:
    """A run of inverted residual blocks: kernel, stride of the first, expansion, output channels, how many."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


STEM_CHANNELS = 32
STAGES = (  # EfficientNet-Lite0, stages 1 to 5: eleven blocks, stride 16
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
)
BLOCK_AFTER_STRIDE_4, BLOCK_AFTER_STRIDE_8 = 2, 4


def conv_same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution padded as TensorFlow's "same": at stride 2 the odd pixel of padding is at the bottom and right.

    At stride 2 the convolution pads both sides alike, by a whole stride more than is needed, and the first row and
    column are cut off: the same bits, without a padded copy of the larger input.
    """
    y: Tensor = conv(x)
    if conv.stride[0] == 1:
        return y
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    return y[:, :, 1 : rows + 1, 1 : columns + 1]


def padding_same(kernel: int, stride: int) -> int:
    """Padding of the convolution that `conv_same` is given; odd kernels, stride 1 or 2."""
    return kernel // 2 if stride == 1 else (kernel - 2) // 2 + 2


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1 (no activation); residual where the shape allows."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = nn.Conv2d(inputs, hidden, 1) if stage.expansion > 1 else None
        padding = padding_same(stage.kernel, stride)
        self.depthwise = nn.Conv2d(hidden, hidden, stage.kernel, stride, padding, groups=hidden)
        self.project = nn.Conv2d(hidden, stage.channels, 1)
        self.activation = nn.ReLU6()
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.activation(self.expand(x))
        y = self.project(self.activation(conv_same(self.depthwise, y)))
        result: Tensor = x + y if self.residual else y
        return result


class ConvolutionalStem(nn.Module):
    """Stem of stride 16, 0.69 M parameters. Tokens: the 112 stride-16 channels and the 40 stride-8 ones, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_CHANNELS, 3, 2, padding_same(3, 2))
        self.activation = nn.ReLU6()
        blocks, inputs = [], STEM_CHANNELS
        for stage in STAGES:
            for i in range(stage.repeats):
                blocks.append(InvertedResidual(inputs, stage, stage.stride if i == 0 else 1))
                inputs = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.channels_4, self.channels_8 = STAGES[1].channels, STAGES[2].channels
        self.channels = inputs + self.channels_8

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.activation(conv_same(self.stem, image))
        map_4 = map_8 = x
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == BLOCK_AFTER_STRIDE_4:
                map_4 = x
            elif i == BLOCK_AFTER_STRIDE_8:
                map_8 = x
        return torch.cat([x, F.avg_pool2d(map_8, 2, 2)], 1), map_8, map_4


class PlainPatches(nn.Module):
    """The methodology's 16 x 16 patches; the detail maps are 8 x 8 and 4 x 4 patches of their own."""

    channels_4, channels_8 = contract.DETAIL_4_CHANNELS, contract.DETAIL_8_CHANNELS

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = width
        self.patch_16 = nn.Conv2d(3, width, contract.STRIDE, contract.STRIDE)
        self.patch_8 = nn.Conv2d(3, self.channels_8, 8, 8)
        self.patch_4 = nn.Conv2d(3, self.channels_4, 4, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.patch_16(image), self.patch_8(image), self.patch_4(image)
