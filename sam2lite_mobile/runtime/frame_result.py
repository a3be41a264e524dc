"""What the tracker says about a frame and the objects on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.runtime.fine_crop import PixelBox


@dataclass(frozen=True, eq=False)
class ObjectResult:
    """One object on one frame.

    mask: bool (height, width), empty if the object is not visible. mask_logits: float32 [1, 1, R/4, R/4], as decoded;
    unless the frame was prompted, what is far from where the object was is made negative (`continuity.py`).
    quality: predicted IoU (1 for a mask prompt). visibility: logit (16 for a mask prompt). visible: whether the
    object is in view, and the frame written to memory (but for a frame of doubt, `redetection.py`); True on a prompted
    frame whatever the logit says, because the user said so. prompted: the user prompted or corrected the object on
    this frame. tokens_by_age: bank tokens after this frame, by age in frames. crop: the part of the frame that
    mask_logits cover (`fine_tracker.py`), None for all of it; mask is always that of the whole frame. Objects of one
    frame have one crop.
    """

    object_id: int
    mask: NDArray[np.bool_]
    mask_logits: NDArray[np.float32]
    quality: float
    visibility: float
    visible: bool
    prompted: bool
    tokens_by_age: dict[int, int]
    crop: PixelBox | None = None


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame: its index from 0, the input size R and the memory window that were used, the objects in ascending
    order of id, and milliseconds by stage (`stage_clock.STAGES`; 0 for a stage that did not run)."""

    frame_index: int
    size: int
    window: int
    objects: dict[int, ObjectResult]
    latency_ms: dict[str, float]
