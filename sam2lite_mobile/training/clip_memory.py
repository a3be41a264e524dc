"""The memory of a clip in training: what the tracker's bank would hold, in batches and with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.runtime.memory_bank import NO_FRAME

Tokens = tuple[Tensor, Tensor, Tensor]
"""keys, values (batch, 256, 256) and uncertainty (batch, 256) of one frame."""


@dataclass(frozen=True)
class Bank:
    """What the tracker's memory bank would hold: the first frame's tokens, then the last written frame's.

    keys, values: (batch, tokens, 256). age, mask, anchor: (batch, tokens), as the contract has them.
    frame, cell: int64 (batch, tokens), where a token comes from; frame NO_FRAME where a slot is empty or hidden.
    """

    keys: Tensor
    values: Tensor
    age: Tensor
    mask: Tensor
    anchor: Tensor
    frame: Tensor
    cell: Tensor

    @classmethod
    def empty(cls, count: int, *, device: torch.device | None = None) -> Bank:
        """One frame of masked slots."""
        tokens = torch.zeros(count, contract.TOKENS_PER_FRAME, contract.CHANNELS, device=device)
        flat = torch.zeros(count, contract.TOKENS_PER_FRAME, device=device)
        whole = torch.zeros_like(flat, dtype=torch.int64)
        return cls(tokens, tokens, flat, flat + contract.MASKED, flat, whole + NO_FRAME, whole)

    @classmethod
    def of(cls, anchor: Tokens, recent: Tokens, *, ages: Tensor, recent_frame: Tensor, hidden: Tensor) -> Bank:
        """The pair of frame 0 and `recent_frame` (batch,).

        ages: (batch, 2) of the two frames. hidden: additive mask (batch, 256) of the recent tokens.
        """
        keys, values = (torch.cat([a, r], 1) for a, r in zip(anchor[:2], recent[:2], strict=True))
        age = ages.repeat_interleave(contract.TOKENS_PER_FRAME, 1)
        flag = torch.zeros_like(age)
        flag[:, : contract.TOKENS_PER_FRAME] = 1
        mask = torch.cat([torch.zeros_like(hidden), hidden], 1)
        recents = recent_frame.long()[:, None].expand(-1, contract.TOKENS_PER_FRAME)
        frame = torch.where(mask == 0, torch.cat([torch.zeros_like(recents), recents], 1), NO_FRAME)
        cell = torch.arange(contract.TOKENS_PER_FRAME, device=age.device).repeat(2).expand_as(frame)
        return cls(keys, values, age, mask, flag, frame, cell)

    def decoder_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """In the order of the mask decoder's arguments."""
        return self.keys, self.values, self.age, self.mask, self.anchor


def replace_tokens(old: Tokens, new: Tokens, *, where: Tensor) -> Tokens:
    """Per clip, the new tokens where (batch,) is true, else the old: a frame without the object writes nothing."""
    keys, values, uncertainty = (
        torch.where(where.view(-1, *[1] * (b.dim() - 1)), b, a) for a, b in zip(old, new, strict=True)
    )
    return keys, values, uncertainty
