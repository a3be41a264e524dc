"""The tracker's bounded bank in training: at most B tokens a clip, forgotten for good, chosen by the runtime's order.

`runtime/memory_bank.py` is the reference; `choose` is its `keep_order` over a batch of clips, with gradients. Shapes
are static: a step sees B slots and the 256 tokens that were written last, and a mask says which of them are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.runtime.memory_bank import (
    NO_FRAME,
    RECENT_FRAMES,
    REDUNDANT_MOTION,
    REDUNDANT_UNCERTAINTY,
    anchor_quota,
)
from sam2lite_mobile.training.clip_memory import Bank, Tokens
from sam2lite_mobile.training.selection import Kept, top_b

TIE_CELLS = 1024
"""More than the cells of a frame: frame and cell in one whole number."""


@dataclass(frozen=True)
class BoundedMemory:
    """Tokens of a batch of clips: keys, values (batch, n, 256), everything else (batch, n).

    frame: int64, -1 where a slot is empty. cell: int64. motion, uncertainty: 0..1. anchor: bool. keep: 1 for tokens
    that are remembered, else 0, with the gradients of the choices that kept them.
    """

    keys: Tensor
    values: Tensor
    frame: Tensor
    cell: Tensor
    motion: Tensor
    uncertainty: Tensor
    anchor: Tensor
    keep: Tensor

    @classmethod
    def empty(cls, count: int, budget: int, *, device: torch.device | None = None) -> BoundedMemory:
        """`budget` empty slots for each of `count` clips."""
        wide = torch.zeros(count, budget, contract.CHANNELS, device=device)
        flat = torch.zeros(count, budget, device=device)
        whole = torch.zeros(count, budget, dtype=torch.int64, device=device)
        return cls(wide, wide, whole + NO_FRAME, whole, flat, flat, whole > 0, flat)

    def write(self, tokens: Tokens, *, frame: int, motion: Tensor, anchor: bool, where: Tensor) -> BoundedMemory:
        """The slots followed by a new frame's 256, which are empty in clips where `where` (batch,) is false."""
        keys, values, uncertainty = tokens
        written = where[:, None].expand_as(uncertainty)
        frames = torch.where(written, frame, NO_FRAME)
        cells = torch.arange(contract.TOKENS_PER_FRAME, device=frames.device).expand_as(frames)
        keep = written.to(uncertainty.dtype)
        new = BoundedMemory(keys, values, frames, cells, motion, uncertainty, written & anchor, keep)
        return BoundedMemory(
            *(torch.cat([getattr(self, field.name), getattr(new, field.name)], 1) for field in fields(self))
        )

    def kept_by(self, choice: Kept) -> BoundedMemory:
        """The same slots, of which only the chosen ones are remembered; the choice's gradients join the earlier."""
        return replace(self, keep=self.keep * choice.mask)

    def forget(self, budget: int) -> BoundedMemory:
        """`budget` slots: the remembered tokens in the order of their slots, then empty ones. The others are gone."""
        held = self.keep.detach() > 0
        slots = torch.argsort((~held).to(torch.int64), dim=1, stable=True)[:, :budget]
        wide = slots[:, :, None].expand(-1, -1, contract.CHANNELS)
        gathered = {
            field.name: getattr(self, field.name).gather(1, wide if field.name in ("keys", "values") else slots)
            for field in fields(self)
        }
        gathered["frame"] = torch.where(held.gather(1, slots), gathered["frame"], NO_FRAME)
        gathered["keep"] = gathered["keep"] * held.gather(1, slots)
        return BoundedMemory(**gathered)

    def ages(self, frame: int, *, span: int = 1) -> Tensor:
        """Age at `frame` as the contract has it, 0 for empty slots; span: frames of a video per frame of the clip."""
        since = ((frame - self.frame) * span).clamp(max=contract.AGE_FRAMES).to(self.uncertainty.dtype)
        return torch.where(self.frame == NO_FRAME, 0, since) / contract.AGE_FRAMES

    def view(self, frame: int, *, span: int = 1, window: int = contract.WINDOW_MAX) -> Bank:
        """What the mask decoder may read at `frame`, were every slot remembered: anchors, and tokens of the window."""
        held = self.frame != NO_FRAME
        in_view = held & (self.anchor | ((self.frame < frame) & (self.frame >= frame - window)))
        mask = torch.where(in_view, 0.0, contract.MASKED)
        anchor = self.anchor.to(self.uncertainty.dtype)
        frames = torch.where(in_view & (self.keep.detach() > 0), self.frame, NO_FRAME)
        ages = self.ages(frame, span=span)
        return Bank(self.keys, self.values, ages, mask, anchor, frames, self.cell)


def choose(memory: BoundedMemory, scores: Tensor, *, newest: int, budget: int, temperature: float) -> Kept:
    """The first `budget` tokens by the runtime's order, per clip, with gradients to the scores (batch, n).

    An anchor is kept because it is within the anchors' quota or, if not, because it wins its place among the others,
    so both cuts are relaxed. newest: index of the frame that was written last. float32 scores rank as in the runtime.
    """
    redundant = (memory.motion < float(REDUNDANT_MOTION)) & (memory.uncertainty < float(REDUNDANT_UNCERTAINTY))
    held = memory.frame != NO_FRAME
    tie = memory.cell - memory.frame * TIE_CELLS  # newer frame, then lower cell
    quotas = torch.full((scores.shape[0],), anchor_quota(budget), device=scores.device)
    first = top_b(scores, quotas, temperature, allowed=held & memory.anchor, level=redundant.long(), tie=tie)
    recent = memory.frame > newest - RECENT_FRAMES
    frames_back = torch.where(recent, newest - memory.frame, 0)
    level = ((~recent).long() * 2 + redundant.long()) * RECENT_FRAMES + frames_back
    places = budget - first.hard.sum(1)
    rest = top_b(scores, places, temperature, allowed=held & ~first.hard, level=level, tie=tie)
    soft = first.soft + rest.soft - first.soft * rest.soft
    mask = first.mask + rest.mask - first.mask * rest.mask
    return Kept(first.hard | rest.hard, soft, mask)
