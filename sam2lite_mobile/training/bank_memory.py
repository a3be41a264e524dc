"""Memory as the tracker has it: a bounded bank that is pruned after every frame, by a choice that can be trained."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from sam2lite_mobile.evaluation.selection import Selection, rule_scores
from sam2lite_mobile.runtime.memory_bank import NO_FRAME
from sam2lite_mobile.runtime.motion import cell_motion, luma_grid
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training import losses
from sam2lite_mobile.training.bounded_memory import BoundedMemory, choose
from sam2lite_mobile.training.clip_memory import Bank, Tokens
from sam2lite_mobile.training.draws import Draws
from sam2lite_mobile.training.kept_read import reads_of_kept
from sam2lite_mobile.training.selection import gumbel_noise


class BankMemory:
    """The bank of each clip. Per frame: `view`, decode within `reading`, `budget_loss`, then `write`.

    frames: uint8 (batch, T, R, R, 3), for the motion. draws: of the Gumbel noise; None for the tracker's choice.
    span: frames of a video per frame of the clip, for ages; the order of tokens and the window count the clip's.

    A dropped token stays for one more frame, unseen: what it would have changed there is the gradient of its score.
    """

    def __init__(
        self,
        student: Student,
        frames: Tensor,
        draws: Draws | None,
        *,
        selection: Selection,
        budget: int,
        temperature: float,
        span: int,
    ) -> None:
        self._student = student
        self._draws = draws
        self._selection = selection
        self._budget = budget
        self._temperature = temperature
        self._span = span
        self._motion = clip_motion(frames)
        self._loss = torch.zeros((), device=frames.device)
        self.memory = BoundedMemory.empty(frames.shape[0], budget, device=frames.device)

    def write(self, frame: int, tokens: Tokens, *, where: Tensor, anchor: bool) -> None:
        """Remember a frame in clips where (batch,) is true, and choose what is kept of everything."""
        held = self.memory.forget(self._budget)
        memory = held.write(tokens, frame=frame, motion=self._motion[:, frame], anchor=anchor, where=where)
        choice = choose(
            memory,
            self._scores(memory, frame),
            newest=frame,
            budget=self._budget,
            temperature=self._temperature,
        )
        self.memory = memory.kept_by(choice)
        self._loss = losses.budget_loss(choice.soft, memory.frame != NO_FRAME, budget=self._budget)

    def view(self, frame: int) -> Bank:
        """What the mask decoder reads at a frame, within `reading`: B + 256 slots, the dropped tokens among them."""
        return self.memory.view(frame, span=self._span)

    def reading(self) -> AbstractContextManager[None]:
        """Within it, the decoder's reads see the kept tokens only."""
        decoder = self._student.mask_decoder
        return reads_of_kept(decoder.read_anchors, decoder.read_recent, keep=self.memory.keep)

    def budget_loss(self) -> Tensor:
        """Of the last choice."""
        return self._loss

    def _scores(self, memory: BoundedMemory, frame: int) -> Tensor:
        """The gate's scores with Gumbel noise, or a rule's. The gate's inputs are detached: it teaches nothing else."""
        values, uncertainty = memory.values.detach(), memory.uncertainty.detach()
        if self._selection is Selection.GATE:
            age = memory.ages(frame, span=self._span)
            scores: Tensor = self._student.token_gate(memory.keys.detach(), values, age, memory.motion, uncertainty)
            return scores if self._draws is None else scores + gumbel_noise(scores.shape[1], self._draws)
        scores_of_rule = rule_scores(
            self._selection,
            frame=memory.frame.cpu().numpy(),
            cell=memory.cell.cpu().numpy(),
            age=(frame - memory.frame).cpu().numpy(),
            mask_mean=values[..., 0].cpu().numpy(),
            uncertainty=uncertainty.cpu().numpy(),
        )
        return torch.from_numpy(scores_of_rule).to(values.device)


def clip_motion(frames: Tensor) -> Tensor:
    """The runtime's motion of every frame: float32 (batch, T, 256), 0 at first. frames: uint8 (batch, T, R, R, 3).

    Computed on the CPU, by the runtime itself; the result is on the device of the frames.
    """
    clips = []
    for clip in frames.cpu().numpy():
        grids = [luma_grid(frame) for frame in clip]
        clips.append(np.stack([cell_motion(*pair) for pair in zip([None, *grids[:-1]], grids, strict=True)]))
    return torch.from_numpy(np.stack(clips)).to(frames.device)
