"""Memory as a pair of frames: the first one's tokens (anchors) and the last written one's (recent), hidden at random.

Cheap, and enough for short clips. The bank that the tracker has is `bank_memory.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.training.clip_memory import Bank, Tokens, replace_tokens
from sam2lite_mobile.training.draws import Draws


class PairMemory:
    """The pair of frames of each clip. Per frame: `view`, decode within `reading`, then `write`.

    span: frames of a video per frame of the clip, for ages. prune_share of the frames see half of the recent tokens;
    drop_share see none. Nothing is chosen here, so the token gate learns nothing.
    """

    def __init__(self, draws: Draws, *, span: int, prune_share: float, drop_share: float) -> None:
        self._draws = draws
        self._span = span
        self._prune_share = prune_share
        self._drop_share = drop_share

    def write(self, frame: int, tokens: Tokens, *, where: Tensor, anchor: bool) -> None:
        """Remember a frame in clips where (batch,) is true: the first as anchors, any later one as the recent frame.

        A later anchor (a corrected frame) is a recent frame here.
        """
        if frame == 0:
            self._anchor = self._recent = tokens
            self._recent_frame = torch.zeros(where.shape[0], device=where.device)
            return
        self._recent = replace_tokens(self._recent, tokens, where=where)
        written = torch.full_like(self._recent_frame, float(frame))
        self._recent_frame = torch.where(where, written, self._recent_frame)

    def view(self, frame: int) -> Bank:
        """What the mask decoder reads at a frame."""
        count = self._recent_frame.shape[0]
        hidden = hidden_tokens(frame, count, self._draws, prune_share=self._prune_share, drop_share=self._drop_share)
        ages = torch.stack([torch.full_like(self._recent_frame, float(frame)), frame - self._recent_frame], 1)
        ages = (ages * (self._span / contract.AGE_FRAMES)).clamp(max=1)
        return Bank.of(self._anchor, self._recent, ages=ages, recent_frame=self._recent_frame, hidden=hidden)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing changes: what is hidden is hidden by the bank's mask."""
        yield


def hidden_tokens(frame: int, count: int, draws: Draws, *, prune_share: float, drop_share: float) -> Tensor:
    """Additive mask (count, 256) of the recent tokens: hidden all, half or none of them."""
    hidden = torch.zeros(count, contract.TOKENS_PER_FRAME, device=draws.device)
    if frame == 1 or draws.chance(drop_share):
        hidden += contract.MASKED  # only the first frame is remembered, as anchors
    elif draws.chance(prune_share):
        hidden += (draws.uniform(hidden.shape[1]) < 0.5) * contract.MASKED
    return hidden
