"""Graph `mask_decoder`: features, memory and prompts to the object's mask, its predicted quality and visibility."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.constants import cell_centres, pattern_place, repeat_matrix, sine_code
from sam2lite_mobile.student.layers import DecoderLayer, Mlp, map_of, tokens_of
from sam2lite_mobile.student.memory_attention import MemoryAttention, MemoryRead

EMBEDDING_CHANNELS = 32
HEAD_CHANNELS_8 = 64
START_MEMORY_GAIN = 2.0
"""Start gain of the read mask on the logits: 8 saturates and does not learn, 2 and 5 reach the same loss."""
BOX_SHARPNESS = 64.0
"""Slope of a box map's border: it rises over about 1/64 of the frame."""
POINT_SIGMA = 0.04
"""Radius of a point's bump, as a share of the frame."""
GUIDE_CHANNELS = 7


@dataclass(frozen=True)
class DecoderTrace:
    """The two reads of a call, for distillation: what image tokens attended to, and what they read."""

    anchors: MemoryRead
    recent: MemoryRead


class MaskHead(nn.Module):
    """Small CNN: image tokens, detail maps and guides to a pixel embedding (batch, 32, R/4, R/4).

    guides (batch, 7, R/4, R/4): the masks read from memory and the prompts drawn as maps, see `MaskDecoder`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(contract.CHANNELS, HEAD_CHANNELS_8, 1)
        self.detail_8 = nn.Conv2d(contract.DETAIL_8_CHANNELS, HEAD_CHANNELS_8, 1)
        self.guides_8 = nn.Conv2d(GUIDE_CHANNELS, HEAD_CHANNELS_8, 3, padding=1)
        self.mix_8 = nn.Conv2d(HEAD_CHANNELS_8, HEAD_CHANNELS_8, 3, padding=1)
        self.down = nn.Conv2d(HEAD_CHANNELS_8, EMBEDDING_CHANNELS, 1)
        self.detail_4 = nn.Conv2d(contract.DETAIL_4_CHANNELS, EMBEDDING_CHANNELS, 1)
        self.guides_4 = nn.Conv2d(GUIDE_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1)
        self.mix_4 = nn.Conv2d(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1)
        self.out = nn.Conv2d(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1)

    def forward(self, image: Tensor, detail_8: Tensor, detail_4: Tensor, guides: Tensor) -> Tensor:
        x = F.interpolate(self.image(image), scale_factor=2, mode="bilinear", align_corners=False)
        x = torch.relu(x + self.detail_8(detail_8) + self.guides_8(F.avg_pool2d(guides, 2, 2)))
        x = torch.relu(self.mix_8(x))
        x = F.interpolate(self.down(x), scale_factor=2, mode="bilinear", align_corners=False)
        x = torch.relu(x + self.detail_4(detail_4) + self.guides_4(guides))
        x = torch.relu(self.mix_4(x))
        return self.out(x)  # type: ignore[no-any-return]


class MaskDecoder(nn.Module):
    """Two reads of the bank, three layers over 100 object queries and the prompt tokens, and a small CNN head.

    The queries compete: each has a mask embedding and a score, and the output uses their softmax-weighted sum, so no
    gather or top-k is in the graph. Inputs and outputs as the contract names them, with any batch size.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = contract.CHANNELS
        self.read_anchors = MemoryAttention()
        self.read_recent = MemoryAttention()
        self.from_anchors = nn.Linear(width, width)
        self.from_recent = nn.Linear(width, width)
        self.from_guides = nn.Conv2d(GUIDE_CHANNELS, width, 4, 4)
        self.queries = nn.Parameter(torch.randn(1, contract.OBJECT_QUERIES, width) * 0.5)
        self.layers = nn.ModuleList(
            DecoderLayer(width, config.decoder_heads, config.decoder_hidden) for _ in range(config.decoder_layers)
        )
        self.norm_queries = nn.LayerNorm(width)
        self.norm_image = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.embedding = Mlp(width, width, EMBEDDING_CHANNELS)
        self.quality = Mlp(width, 64, 1)
        self.visibility = Mlp(width, 64, 1)
        self.head = MaskHead()
        self.bias = nn.Parameter(torch.zeros(1))
        self.memory_gain = nn.Parameter(torch.tensor(START_MEMORY_GAIN))
        self.register_buffer("open", torch.zeros(1, contract.OBJECT_QUERIES), persistent=False)
        for size in contract.SIZES:
            g, m = size // contract.STRIDE, size // contract.MASK_STRIDE
            self.register_buffer(f"position_{g}", torch.from_numpy(sine_code(g, width)), persistent=False)
            self.register_buffer(f"place_{g}", torch.from_numpy(pattern_place(g)), persistent=False)
            self.register_buffer(f"repeat_{g}", torch.from_numpy(repeat_matrix(g, m // g)), persistent=False)
            self.register_buffer(f"centres_{g}", torch.from_numpy(cell_centres(m)).view(1, 1, m), persistent=False)

    def forward(
        self,
        features: Tensor,
        detail_8: Tensor,
        detail_4: Tensor,
        memory_keys: Tensor,
        memory_values: Tensor,
        memory_age: Tensor,
        memory_mask: Tensor,
        memory_anchor: Tensor,
        prompt_tokens: Tensor,
        prompt_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits, quality, visibility, _ = self.trace(
            features,
            detail_8,
            detail_4,
            memory_keys,
            memory_values,
            memory_age,
            memory_mask,
            memory_anchor,
            prompt_tokens,
            prompt_mask,
        )
        return logits, quality, visibility

    def trace(
        self,
        features: Tensor,
        detail_8: Tensor,
        detail_4: Tensor,
        memory_keys: Tensor,
        memory_values: Tensor,
        memory_age: Tensor,
        memory_mask: Tensor,
        memory_anchor: Tensor,
        prompt_tokens: Tensor,
        prompt_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, DecoderTrace]:
        """The outputs of `forward` and the attention and readout of both reads."""
        batch, side = features.shape[0], features.shape[-1]
        position = self.get_buffer(f"position_{side}")
        tokens = tokens_of(features)
        anchor_mask = torch.clamp(memory_mask + (1 - memory_anchor) * contract.MASKED, contract.MASKED, 0.0)
        recent_mask = torch.clamp(memory_mask + memory_anchor * contract.MASKED, contract.MASKED, 0.0)
        anchors = self.read_anchors(tokens, memory_keys, memory_values, memory_age, anchor_mask)
        recent = self.read_recent(tokens, memory_keys, memory_values, memory_age, recent_mask)

        anchor_mean, anchor_pattern = self._read_mask(anchors.readout, side)
        recent_mean, recent_pattern = self._read_mask(recent.readout, side)
        prompts = self._draw_prompts(prompt_tokens, side)
        guides = torch.cat([anchor_pattern, recent_pattern, anchor_mean, recent_mean, prompts], 1)

        image = tokens + self.from_anchors(anchors.readout) + self.from_recent(recent.readout)
        image = image + tokens_of(self.from_guides(guides)) + position
        queries = torch.cat([self.queries.expand(batch, -1, -1), prompt_tokens], 1)
        key_mask = torch.cat([self.get_buffer("open").expand(batch, -1), prompt_mask], 1)[:, None, :]
        for layer in self.layers:
            queries, image = layer(queries, image, position, key_mask)

        queries = self.norm_queries(queries[:, : contract.OBJECT_QUERIES])
        weights = torch.softmax(self.score(queries), 1).transpose(1, 2)  # (batch, 1, 100)
        winner = torch.bmm(weights, queries)  # (batch, 1, 256)
        embedding = torch.bmm(weights, self.embedding(queries))  # (batch, 1, 32)
        pixels = self.head(map_of(self.norm_image(image), side), detail_8, detail_4, guides)
        rows = pixels.shape[-1]
        logits = torch.bmm(embedding, pixels.flatten(2)).reshape(batch, 1, rows, rows)
        logits = logits + self.bias + (anchor_pattern * 2 - 1) * self.memory_gain
        quality = torch.sigmoid(self.quality(winner))[:, 0]
        return logits, quality, self.visibility(winner)[:, 0], DecoderTrace(anchors, recent)

    def _read_mask(self, readout: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """The mask read from memory at stride 4: the cells' means, upsampled, and their patterns, put in place."""
        cells = map_of(readout[:, :, : contract.MASK_CHANNELS], side)
        factor = contract.STRIDE // contract.MASK_STRIDE
        mean = F.interpolate(cells[:, :1], scale_factor=factor, mode="bilinear", align_corners=False)
        repeat = self.get_buffer(f"repeat_{side}")
        patterns = torch.matmul(torch.matmul(repeat, cells[:, 1:]), repeat.transpose(0, 1))
        return mean, (patterns * self.get_buffer(f"place_{side}")).sum(1, keepdim=True)

    def _draw_prompts(self, prompt_tokens: Tensor, side: int) -> Tensor:
        """The prompts as maps (batch, 3, R/4, R/4): inside the box, near foreground points, near background points.

        Read from the geometry channels of the tokens; all zero without prompts.
        """
        centres = self.get_buffer(f"centres_{side}")  # (1, 1, m)
        x, y = prompt_tokens[:, :, 0:1], prompt_tokens[:, :, 1:2]  # (batch, P, 1)
        background, foreground, first, last = (prompt_tokens[:, :, 2 + i : 3 + i] for i in range(4))

        def between(low: Tensor, high: Tensor) -> Tensor:
            return torch.sigmoid((centres - low) * BOX_SHARPNESS) * torch.sigmoid((high - centres) * BOX_SHARPNESS)

        low_x, low_y = (x * first).sum(1, keepdim=True), (y * first).sum(1, keepdim=True)
        high_x, high_y = (x * last).sum(1, keepdim=True), (y * last).sum(1, keepdim=True)
        rows = between(low_y, high_y) * first.sum(1, keepdim=True)  # (batch, 1, m)
        box = torch.bmm(rows.transpose(1, 2), between(low_x, high_x))

        def bumps(at: Tensor) -> Tensor:
            distance = (centres - at) * (1 / POINT_SIGMA)
            return torch.exp(torch.clamp(distance * distance, 0, 16) * -0.5)  # (batch, P, m)

        bump_x, bump_y = bumps(x), bumps(y)
        near = [torch.bmm((bump_y * kind).transpose(1, 2), bump_x) for kind in (foreground, background)]
        return torch.cat([part[:, None] for part in (box, *near)], 1)
