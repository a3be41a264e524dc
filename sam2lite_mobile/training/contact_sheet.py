"""Clips side by side, for looking at."""

from __future__ import annotations

from collections.abc import Sequence as Items

import cv2
import numpy as np

from sam2lite_mobile.training.clip_settings import Bytes, Clip

_OUTLINE = (255, 40, 220)


def contact_sheet(clips: Items[Clip]) -> Bytes:
    """One row a clip, one column a frame, the mask outlined: (clips * R, T * R, 3) uint8 RGB.

    All clips must have the same T and R; raises ValueError where there are none.
    """
    if not clips:
        raise ValueError("contact sheet: expected one clip or more, got none")
    return np.concatenate([_row(clip) for clip in clips], axis=0)


def sheet_png(sheet: Bytes) -> bytes:
    """PNG file of a sheet (H, W, 3) uint8 RGB."""
    done, data = cv2.imencode(".png", sheet[..., ::-1])
    if not done:
        raise RuntimeError("the contact sheet could not be encoded as PNG")
    return bytes(data.tobytes())


def _row(clip: Clip) -> Bytes:
    cells = []
    for frame, mask in zip(clip.frames, clip.masks, strict=True):
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cells.append(cv2.drawContours(frame.copy(), outlines, -1, _OUTLINE, 1))
    row = np.concatenate(cells, axis=1)
    cv2.putText(row, clip.source, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1, cv2.LINE_AA)
    return np.asarray(row, dtype=np.uint8)
