"""EdgeTAM (Zhou et al. 2025, arXiv 2501.07256) as teacher: `EdgeTamVideoModel` of transformers 5.23.0.

Its published weights have a RepViT image encoder, which transformers takes from `timm`, which asks for torchvision.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from sam2lite_mobile.training.alignment import TokenSpan
from sam2lite_mobile.training.teachers.video_loading import open_video_model
from sam2lite_mobile.training.teachers.video_model import VideoModelKind, VideoModelTeacher


def edgetam_frame_spans(model: Any, frame: int) -> tuple[TokenSpan, ...]:
    """A frame's memory: latents of the perceiver, first those that look at the whole frame, then those of windows.

    A window's latent stands for its part of the frame, row by row; the others have no place
    (`EdgeTamVideoPerceiverResampler` of models/edgetam_video/modeling_edgetam_video.py).
    """
    spans = []
    whole, placed = (int(getattr(model.spatial_perceiver, f"num_latents_{n}")) for n in ("1d", "2d"))
    if whole:
        spans.append(TokenSpan.without_place(whole, frame=frame))
    if placed:
        side = math.isqrt(placed)
        spans.append(TokenSpan.of_grid(frame, (side, side)))
    return tuple(spans)


EDGETAM_VIDEO = VideoModelKind(
    "edgetam", "edgetam_video", "EdgeTamVideoModel", "EdgeTamVideoInferenceSession", edgetam_frame_spans
)


def open_edgetam_video(source: str, *, device: torch.device | str, compact: bool = True) -> VideoModelTeacher:
    """An EdgeTAM model from a folder or a hub name (`yonigozlan/EdgeTAM-hf`). Errors as `open_video_model`."""
    return open_video_model(EDGETAM_VIDEO, source, device=device, compact=compact)
