"""Pictures of a training batch: frames with the true outline (white) and the predicted mask (green)."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from sam2lite_mobile.training.clip_batch import ClipBatch


def sample_sheet(batch: ClipBatch, predictions: Tensor) -> bytes:
    """PNG of the batch, a row a clip. predictions: (batch, T, R/4, R/4) logits."""
    rows = []
    for frames, masks, logits in zip(batch.frames.numpy(), batch.masks.numpy(), predictions.numpy(), strict=True):
        row = []
        for frame, mask, logit in zip(frames, masks, logits, strict=True):
            size = frame.shape[0]
            fine = cv2.resize(logit, (size, size), interpolation=cv2.INTER_LINEAR)
            picture = frame[:, :, ::-1].astype(np.float32)
            picture[fine > 0] = picture[fine > 0] * 0.5 + np.array([60, 220, 60], np.float32) * 0.5
            picture = np.ascontiguousarray(picture.astype(np.uint8))
            contours, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            row.append(cv2.drawContours(picture, contours, -1, (255, 255, 255), 1))
        rows.append(np.concatenate(row, 1))
    done, data = cv2.imencode(".png", np.concatenate(rows, 0))
    if not done:
        raise RuntimeError("the sample picture could not be encoded as PNG")
    return data.tobytes()
