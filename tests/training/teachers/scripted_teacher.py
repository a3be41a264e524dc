"""A teacher whose answers can be read off the clip, and clips for it."""

from __future__ import annotations

import torch
from torch import Tensor

from sam2lite_mobile.training.alignment import TokenSpan
from sam2lite_mobile.training.teachers.teacher import TeacherFrame

THIRD = 1 / 3
"""Not a float16: rounding shows."""


class ScriptedTeacher:
    """Two queries over four placed tokens and one without a place; counts its calls."""

    readout_width = 3

    def __init__(self, *, fingerprint: str = "ab", largest: float = 5.0) -> None:
        self.fingerprint = fingerprint
        self.calls = 0
        self._largest = largest

    def track(self, frames: Tensor, first_mask: Tensor) -> list[TeacherFrame]:
        self.calls += 1
        return [self._frame(t, float(frames[t].float().mean())) for t in range(1, len(frames))]

    def _frame(self, t: int, mean: float) -> TeacherFrame:
        return TeacherFrame(
            mask_logits=torch.full((4, 4), mean + THIRD),
            attention=torch.tensor([[THIRD, THIRD, 0, 0, THIRD], [0, 0, 1, 0, 0]]),
            spans=(TokenSpan.of_grid(0, (2, 2)), TokenSpan.without_place(1, frame=t)),
            query_grid=(1, 2),
            readout=torch.tensor([[t, THIRD, self._largest], [0, 0, -THIRD]]),
        )


def small_clip(*, level: int = 7, frames: int = 3) -> tuple[Tensor, Tensor]:
    """Frames (T, 8, 8, 3) and a mask (8, 8)."""
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2:4, 2:4] = 255
    return torch.full((frames, 8, 8, 3), level, dtype=torch.uint8), mask
