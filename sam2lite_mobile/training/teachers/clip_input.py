"""What every teacher accepts: one clip and the object's mask in its first frame."""

from __future__ import annotations

import torch
from torch import Tensor

from sam2lite_mobile.errors import ContractError, explain

OBJECT_LEVEL = 127
"""A pixel of a mask belongs to the object above this."""
FEWEST_FRAMES = 2
"""One that shows the object, and one to track."""


def check_clip(frames: Tensor, first_mask: Tensor) -> None:
    """Raise ContractError unless frames are uint8 (T, R, R, 3) with T >= 2, and the mask is uint8 (R, R)."""
    side = frames.shape[1] if frames.dim() == 4 else 0
    fits = frames.shape[1:] == (side, side, 3) and frames.dtype == torch.uint8 and frames.shape[0] >= FEWEST_FRAMES
    if not fits or first_mask.shape != (side, side) or first_mask.dtype != torch.uint8:
        got = " and ".join(f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}" for x in (frames, first_mask))
        raise ContractError(
            explain(
                "clip for a teacher",
                expected="frames (T, R, R, 3) uint8 with T >= 2, and a mask (R, R) uint8",
                got=got,
                do="give one clip, without a batch axis, as the data gives it",
            )
        )


def object_mask(first_mask: Tensor) -> Tensor:
    """float32 (1, 1, R, R): 1 on the object, else 0."""
    return (first_mask > OBJECT_LEVEL).float()[None, None]
