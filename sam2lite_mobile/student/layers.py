"""Layers that several graphs share: attention as batched matrix products, transformer block, multi-layer perceptron.

Written for the converters (static shapes, rank <= 4, additive masks): attention is two explicit batched products
over (batch * heads, tokens, channels), which every target delegates whole; a fused attention call is not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mlp(nn.Sequential):
    """Linear, GELU (exact erf: the tanh form changes silently in Core ML), linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class Attention(nn.Module):
    """Multi-head attention of `query` tokens over `memory` tokens.

    query: (batch, n, width). memory: (batch, m, width). key_mask: additive (batch, 1, m) or None.
    query_position, memory_position: added to queries and keys only, broadcast over the batch.
    Returns (batch, n, width).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.channels = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        batch, tokens, _width = x.shape
        x = x.view(batch, tokens, self.heads, self.channels).permute(0, 2, 1, 3)
        return x.reshape(batch * self.heads, tokens, self.channels)

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        *,
        key_mask: Tensor | None = None,
        query_position: Tensor | None = None,
        memory_position: Tensor | None = None,
    ) -> Tensor:
        batch, tokens, width = query.shape
        positioned = query if query_position is None else query + query_position
        keyed = memory if memory_position is None else memory + memory_position
        q = self._split(self.query(positioned) * self.channels**-0.5)  # scaled here: products stay small in fp16
        k = self._split(self.key(keyed))
        v = self._split(self.value(memory))
        logits = torch.bmm(q, k.transpose(1, 2))  # (batch * heads, n, m)
        if key_mask is not None:
            logits = logits + (key_mask if batch == 1 else key_mask.repeat_interleave(self.heads, 0))
        x = torch.bmm(torch.softmax(logits, -1), v)
        x = x.view(batch, self.heads, tokens, self.channels).permute(0, 2, 1, 3).reshape(batch, tokens, width)
        result: Tensor = self.output(x)
        return result


class EncoderBlock(nn.Module):
    """Pre-norm transformer block that starts near identity (LayerScale 1e-4, Touvron et al. 2021, equation 4)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.scale_attention = nn.Parameter(torch.full((width,), 1e-4))
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width, width)
        self.scale_mlp = nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        y = self.norm_attention(x)
        x = x + self.scale_attention * self.attention(y, y, query_position=position, memory_position=position)
        result: Tensor = x + self.scale_mlp * self.mlp(self.norm_mlp(x))
        return result


class DecoderLayer(nn.Module):
    """One layer of the mask decoder: queries attend to themselves and to the image, then the image to the queries."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width)
        self.norm_image_keys = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden, width)
        self.norm_image = nn.LayerNorm(width)
        self.norm_query_keys = nn.LayerNorm(width)
        self.image_attention = Attention(width, heads)

    def forward(self, queries: Tensor, image: Tensor, position: Tensor, key_mask: Tensor) -> tuple[Tensor, Tensor]:
        """queries (batch, q, width), image (batch, n, width), position (n, width), key_mask (batch, 1, q) additive."""
        y = self.norm_self(queries)
        queries = queries + self.self_attention(y, y, key_mask=key_mask)
        keys = self.norm_image_keys(image)
        queries = queries + self.cross_attention(self.norm_cross(queries), keys, memory_position=position)
        queries = queries + self.mlp(self.norm_mlp(queries))
        x = self.norm_image(image)
        keys = self.norm_query_keys(queries)
        image = image + self.image_attention(x, keys, key_mask=key_mask, query_position=position)
        return queries, image


def tokens_of(image_map: Tensor) -> Tensor:
    """(batch, channels, h, w) to (batch, h * w, channels)."""
    return image_map.flatten(2).transpose(1, 2)


def map_of(tokens: Tensor, side: int) -> Tensor:
    """(batch, side * side, channels) to (batch, channels, side, side)."""
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, channels, side, side)
