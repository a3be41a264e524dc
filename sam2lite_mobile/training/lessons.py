"""What a student learns from a teacher: its soft masks, what it attends to in memory, and what it reads there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.student.mask_decoder import DecoderTrace
from sam2lite_mobile.training.alignment import NO_FRAME, Grid, align_attention, pool_queries
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clip_memory import Bank
from sam2lite_mobile.training.distillation import ReadoutProjection, attention_loss, readout_loss
from sam2lite_mobile.training.teachers.teacher import Teacher, TeacherFrame

STUDENT_READOUT_WIDTH = 2 * contract.CHANNELS
"""Channels of the student's readout: that of the anchors, then that of the recent tokens."""
READOUT_FLOOR = 1e-6
"""Least mean squared readout of a teacher that the loss is divided by."""


@dataclass(frozen=True)
class Lessons:
    """A teacher's frames of a batch: `frames[clip][t - 1]` is frame t of a clip, t >= 1."""

    frames: tuple[tuple[TeacherFrame, ...], ...]

    def at(self, t: int) -> list[TeacherFrame]:
        """Frame t of every clip."""
        return [clip[t - 1] for clip in self.frames]

    def masks(self, t: int, *, size: int) -> Tensor:
        """The teacher's soft masks of frame t, 0..1: (batch, 1, size, size)."""
        logits = [frame.mask_logits[None, None].float() for frame in self.at(t)]
        resized = [F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False) for x in logits]
        return torch.sigmoid(torch.cat(resized))


def lessons_of(teacher: Teacher, batch: ClipBatch) -> Lessons:
    """What a teacher makes of the clips of a batch, each shown the object in its first frame."""
    clips = zip(batch.frames, batch.masks, strict=True)
    return Lessons(tuple(tuple(teacher.track(frames, masks[0])) for frames, masks in clips))


def taught_attention(trace: DecoderTrace, bank: Bank, frames: Sequence[TeacherFrame]) -> Tensor:
    """L_attn of one frame (methodology section 1.2) over both reads: anchors, and recent tokens.

    A read has a softmax of its own, so it is compared with the teacher's attention inside its group of tokens. A
    query counts by the share of the teacher's attention that falls on the group: a read to which the teacher would
    give nothing is left alone. bank: what was read, (batch, tokens). frames: the teacher's, one a clip.
    """
    count = trace.anchors.attention.shape[1]
    total = trace.anchors.attention.new_zeros(())
    for read, group in ((trace.anchors, bank.anchor > 0), (trace.recent, bank.anchor == 0)):
        owners = torch.where(group, bank.frame, NO_FRAME)
        aligned = [
            align_attention(
                frame.attention,
                frame.spans,
                query_grid=frame.query_grid,
                student_query_grid=square(count),
                frames=owner,
                cells=cells,
            )
            for frame, owner, cells in zip(frames, owners, bank.cell, strict=True)
        ]
        total = total + attention_loss(
            read.attention[:, :, :-1],
            torch.stack([each.attention for each in aligned]),
            shown=owners != NO_FRAME,
            query_weight=torch.stack([each.kept for each in aligned]),
        )
    return total


def taught_readout(trace: DecoderTrace, frames: Sequence[TeacherFrame], projection: ReadoutProjection) -> Tensor:
    """L_readout of one frame (methodology section 1.2), as a share of the teacher's mean squared readout.

    The share makes its weight mean the same for teachers of any scale and width. frames: the teacher's, one a clip.
    """
    student = torch.cat([trace.anchors.readout, trace.recent.readout], -1)
    grid = square(student.shape[1])
    target = torch.stack([pool_queries(frame.readout, frame.query_grid, to=grid) for frame in frames])
    scale = target.square().sum(-1).mean().clamp(min=READOUT_FLOOR)
    return readout_loss(projection(student), target) / scale


def square(count: int) -> Grid:
    """The grid of the student's `count` image tokens."""
    side = round(count**0.5)
    return side, side
