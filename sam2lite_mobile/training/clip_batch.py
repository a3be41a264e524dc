"""A batch of training clips with their prompts, and its parts: rows of a process, pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipBatch:
    """frames: uint8 (batch, T, R, R, 3) RGB. masks: uint8 (batch, T, R, R), object > 127.

    points (batch, 2, P, 2) and labels (batch, 2, P): a prompt for the first frame, and one for `corrected_frame`.
    These may be some rows of a larger batch: `first_row` of `all_rows`, None where they are all of it.
    """

    frames: Tensor
    masks: Tensor
    points: Tensor
    labels: Tensor
    corrected_frame: int
    first_row: int = 0
    all_rows: int | None = None

    @property
    def count(self) -> int:
        """Clips in it."""
        return int(self.frames.shape[0])

    @property
    def rows(self) -> range:
        """Which rows of the whole batch these are."""
        return range(self.first_row, self.first_row + self.count)

    def pieces(self, clips: int | None) -> Iterator[ClipBatch]:
        """The same rows, at most `clips` at a time; in one piece if None."""
        step = clips or self.count
        for start in range(0, self.count, step):
            cut = slice(start, start + step)
            yield replace(
                self,
                frames=self.frames[cut],
                masks=self.masks[cut],
                points=self.points[cut],
                labels=self.labels[cut],
                first_row=self.first_row + start,
                all_rows=self.all_rows or self.count,
            )

    def to(self, device: torch.device) -> ClipBatch:
        """The same clips in the memory of a device."""
        moved = (x.to(device, non_blocking=True) for x in (self.frames, self.masks, self.points, self.labels))
        frames, masks, points, labels = moved
        return replace(self, frames=frames, masks=masks, points=points, labels=labels)
