"""What a teacher gives to distillation: for each tracked frame of a clip its mask, memory attention and readout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sam2lite_mobile.training.alignment import Grid, TokenSpan


@dataclass(frozen=True)
class TeacherFrame:
    """One frame as a teacher saw it. Tensors are float32, without gradients, on the device of the frames.

    mask_logits: (h, w), any size, over the whole frame.
    attention: (queries, tokens), mass over the teacher's memory; rows sum to 1 with every token counted.
    spans: which frames the tokens come from and where they lie, in order; they cover all tokens.
    query_grid: (rows, columns) of the queries, row by row over the whole frame.
    readout: (queries, channels), what the queries read from memory.
    """

    mask_logits: Tensor
    attention: Tensor
    spans: tuple[TokenSpan, ...]
    query_grid: Grid
    readout: Tensor


class Teacher(Protocol):
    """A frozen video model with unbounded or large memory, shown the object in the first frame of a clip."""

    @property
    def fingerprint(self) -> str:
        """Hash (hexadecimal) of the weights and of everything else that its answers depend on."""

    @property
    def readout_width(self) -> int:
        """Channels of a readout."""

    def track(self, frames: Tensor, first_mask: Tensor) -> list[TeacherFrame]:
        """Frames 1 to T - 1 of a clip, tracked from the mask of frame 0.

        frames: uint8 (T, R, R, 3) RGB. first_mask: uint8 (R, R), object > 127. A frame's own predictions are what the
        teacher remembers of it.
        """
