"""A piece of a video with the mask that it is tracked from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.evaluation.datasets import DavisLayout, read_frame, read_mask


@dataclass(frozen=True)
class PromptedClip:
    """Frames uint8 (H, W, 3) of a sequence and the first frame's mask, bool (H, W)."""

    name: str
    frames: tuple[NDArray[np.uint8], ...]
    mask: NDArray[np.bool_]


def read_clip(layout: DavisLayout, sequence: str, *, frames: int) -> PromptedClip:
    """The first frames of a sequence, as many as there are of `frames`, with the mask of the first; objects joined."""
    files = layout.frames(sequence)[:frames]
    mask = read_mask(files[0].annotation) > 0
    return PromptedClip(sequence, tuple(read_frame(file.image) for file in files), mask)
