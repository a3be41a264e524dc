"""SAM 2 (Ravi et al. 2024, arXiv 2408.00714) as teacher: `Sam2VideoModel` of transformers 5.23.0."""

from __future__ import annotations

from typing import Any

import torch

from sam2lite_mobile.training.alignment import TokenSpan
from sam2lite_mobile.training.teachers.video_loading import open_video_model
from sam2lite_mobile.training.teachers.video_model import VideoModelKind, VideoModelTeacher


def sam2_frame_spans(model: Any, frame: int) -> tuple[TokenSpan, ...]:
    """A frame's memory: a token for each place of the coarsest feature map, 64 x 64 at 1024 px.

    `_encode_new_memory` of models/sam2_video/modeling_sam2_video.py.
    """
    rows, columns = model.backbone_feature_sizes[-1]
    return (TokenSpan.of_grid(frame, (rows, columns)),)


SAM2_VIDEO = VideoModelKind("sam2", "sam2_video", "Sam2VideoModel", "Sam2VideoInferenceSession", sam2_frame_spans)


def open_sam2_video(source: str, *, device: torch.device | str, compact: bool = True) -> VideoModelTeacher:
    """A SAM 2 model from a folder or a hub name (`facebook/sam2.1-hiera-large`). Errors as `open_video_model`."""
    return open_video_model(SAM2_VIDEO, source, device=device, compact=compact)
