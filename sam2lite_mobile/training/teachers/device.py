"""A teacher's frame in the memory of another device: where the clip came from, wherever the teacher runs."""

from __future__ import annotations

from dataclasses import replace

import torch

from sam2lite_mobile.training.teachers.teacher import TeacherFrame


def on_device(frame: TeacherFrame, device: torch.device) -> TeacherFrame:
    """The same frame with its tensors on `device`."""
    return replace(
        frame,
        mask_logits=frame.mask_logits.to(device),
        attention=frame.attention.to(device),
        readout=frame.readout.to(device),
    )
