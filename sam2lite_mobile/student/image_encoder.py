"""Graph `image_encoder`: a frame to stride-16 features and the detail maps at strides 8 and 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.constants import isometry, sine_code
from sam2lite_mobile.student.layers import EncoderBlock, map_of, tokens_of
from sam2lite_mobile.student.patch_embedding import ConvolutionalStem, PlainPatches

IMAGE_MEAN, IMAGE_SCALE = 127.0, 1 / 128
"""EfficientNet-Lite's own normalisation, (x - 127) / 128; one value for all channels, so Core ML can hold it."""

START_SCALE = 0.25
"""The stem's features have a standard deviation near 4 on photographs; features leave with one near 1."""


class ImageEncoder(nn.Module):
    """Patch embedding, then transformer blocks that start near identity, so the stem's features match from step one.

    forward: image (batch, 3, R, R) RGB 0..255 -> features (batch, 256, g, g), detail_8, detail_4 as in the contract.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        conv = config.patch_embed == "conv"
        self.patches: ConvolutionalStem | PlainPatches = ConvolutionalStem() if conv else PlainPatches(config.width)
        self.enter = nn.Linear(self.patches.channels, config.width)
        self.blocks = nn.ModuleList(EncoderBlock(config.width, config.heads) for _ in range(config.blocks))
        self.exit = nn.Linear(config.width, contract.CHANNELS)
        self.detail_8 = nn.Conv2d(self.patches.channels_8, contract.DETAIL_8_CHANNELS, 1)
        self.detail_4 = nn.Conv2d(self.patches.channels_4, contract.DETAIL_4_CHANNELS, 1)
        for seed, linear in enumerate((self.enter, self.exit)):  # keep the cosines of the stem's features
            linear.weight.data.copy_(torch.from_numpy(isometry(*linear.weight.shape, seed=seed)))
            nn.init.zeros_(linear.bias)
        self.exit.weight.data.mul_(START_SCALE)
        for size in contract.SIZES:
            code = torch.from_numpy(sine_code(size // contract.STRIDE, config.width))
            self.register_buffer(f"position_{size // contract.STRIDE}", code, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side = image.shape[-1] // contract.STRIDE
        position = self.get_buffer(f"position_{side}")
        patches, map_8, map_4 = self.patches((image - IMAGE_MEAN) * IMAGE_SCALE)
        x = self.enter(tokens_of(patches))
        for block in self.blocks:
            x = block(x, position)
        return map_of(self.exit(x), side), self.detail_8(map_8), self.detail_4(map_4)
