"""The memory of a clip in training: what the tracker's bank would hold, in batches and with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2lite_mobile import contract

Tokens = tuple[Tensor, Tensor, Tensor]
"""keys, values (batch, 256, 256) and uncertainty (batch, 256) of one frame."""


@dataclass(frozen=True)
class Bank:
    """What the tracker's memory bank would hold: the first frame's tokens, then the last written frame's.

    keys, values: (batch, tokens, 256). age, mask, anchor, uncertainty: (batch, tokens), as the contract has them.
    """

    keys: Tensor
    values: Tensor
    age: Tensor
    mask: Tensor
    anchor: Tensor
    uncertainty: Tensor

    @classmethod
    def empty(cls, count: int) -> Bank:
        """One frame of masked slots."""
        tokens = torch.zeros(count, contract.TOKENS_PER_FRAME, contract.CHANNELS)
        flat = torch.zeros(count, contract.TOKENS_PER_FRAME)
        return cls(tokens, tokens, flat, flat + contract.MASKED, flat, flat)

    @classmethod
    def of(cls, anchor: Tokens, recent: Tokens, *, ages: Tensor, hidden: Tensor) -> Bank:
        """ages: (batch, 2) of the two frames. hidden: additive mask (batch, 256) of the recent tokens."""
        keys, values, uncertainty = (torch.cat([a, r], 1) for a, r in zip(anchor, recent, strict=True))
        age = ages.repeat_interleave(contract.TOKENS_PER_FRAME, 1)
        flag = torch.zeros_like(age)
        flag[:, : contract.TOKENS_PER_FRAME] = 1
        return cls(keys, values, age, torch.cat([torch.zeros_like(hidden), hidden], 1), flag, uncertainty)

    def decoder_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """In the order of the mask decoder's arguments."""
        return self.keys, self.values, self.age, self.mask, self.anchor


def replace_tokens(old: Tokens, new: Tokens, *, where: Tensor) -> Tokens:
    """Per clip, the new tokens where (batch,) is true, else the old: a frame without the object writes nothing."""
    keys, values, uncertainty = (
        torch.where(where.view(-1, *[1] * (b.dim() - 1)), b, a) for a, b in zip(old, new, strict=True)
    )
    return keys, values, uncertainty
