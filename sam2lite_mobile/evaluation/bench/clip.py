"""The frames that every subject is timed on: the start of the sample clip, forth and back without an end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.evaluation.datasets import read_frame, read_mask, sample_clip

CLIP_FRAMES = 24
"""Frames that are kept in memory, 1.2 MB each."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames, uint8 (height, width, RGB), and the object in the first one, bool (height, width)."""

    name: str
    frames: tuple[NDArray[np.uint8], ...]
    mask: NDArray[np.bool_]

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` of the endless clip 0, 1, ..., n - 1, n - 2, ..., 1, 0, 1, ...: no cut anywhere."""
        last = len(self.frames) - 1
        if last == 0:
            return self.frames[0]
        place = index % (2 * last)
        return self.frames[min(place, 2 * last - place)]


def bench_clip(frames: int = CLIP_FRAMES) -> Clip:
    """The first frames of the sample clip. Raises DataError if it is missing."""
    layout = sample_clip()
    name = layout.sequence_names()[0]
    chosen = layout.frames(name)[:frames]
    return Clip(
        f"{name} ({len(chosen)} frames, forth and back)",
        tuple(read_frame(each.image) for each in chosen),
        read_mask(chosen[0].annotation) == 1,
    )
