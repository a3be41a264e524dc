"""A SAM 2 video model of `transformers` as teacher: its own video inference with its own memory bank.

SAM 2 and EdgeTAM share code there, so they share this file; what differs is a `VideoModelKind`. Nothing of
`transformers` is imported here, and no processor is used: frames are resized and normalised in torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.training.alignment import TokenSpan
from sam2lite_mobile.training.teachers.attention_recorder import AttentionRecorder
from sam2lite_mobile.training.teachers.clip_input import check_clip, object_mask
from sam2lite_mobile.training.teachers.compact import compact_frame
from sam2lite_mobile.training.teachers.device import on_device
from sam2lite_mobile.training.teachers.teacher import TeacherFrame
from sam2lite_mobile.training.teachers.tensor_hash import tensors_hash
from sam2lite_mobile.training.teachers.video_memory import memory_spans

VERSION = 1
"""Raised when the same weights give other answers: part of the fingerprint."""
IMAGE_MEAN, IMAGE_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as in transformers' models/sam2_video/video_processing_sam2_video.py."""
OBJECT_SHARE = 0.5
"""A resized mask shows the object from here on, as in transformers' models/sam2_video/processing_sam2_video.py."""
OBJECT_ID = 1
ATTENTION = {"": "eager"}
"""Of the model itself, which its memory attention follows: the only one that gives weights. Parts keep their own."""
NO_PART_OF_ANSWERS = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
"""Entries of a configuration that differ between two copies of one model."""


@dataclass(frozen=True)
class VideoModelKind:
    """One family of models.

    name: as in a teacher's specification. model_type: as in config.json. model, session: their classes' names in
    `transformers`' module `models.<model_type>.modeling_<model_type>`. frame_spans: from a model and a frame, the spans
    of the tokens that the frame leaves in memory, besides its object pointer.
    """

    name: str
    model_type: str
    model: str
    session: str
    frame_spans: Callable[[Any, int], tuple[TokenSpan, ...]]


class VideoModelTeacher:
    """`model`, frozen and in float32, as `Teacher`.

    session: class of the model's inference sessions. library_version: of `transformers`, which computes the answers.
    compact: give frames at the resolution of a student with the clip's size (`compact.py`); without it at the model's
    own, which is too large to keep for SAM 2. Raises ContractError for a model without memory.
    """

    def __init__(
        self, model: Any, *, kind: VideoModelKind, session: Any, library_version: str, compact: bool = True
    ) -> None:
        if model.num_maskmem < 1:
            raise ContractError(
                explain(f"{kind.name} teacher", expected="a memory", got="num_maskmem 0", do="use a video model")
            )
        model.set_attn_implementation(ATTENTION)
        self._model = model.eval().float().requires_grad_(False)
        self._kind = kind
        self._session = session
        self._compact = compact
        self._library_version = library_version
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash (hexadecimal) of weights, configuration, the library's version and how frames are given."""
        if self._fingerprint is None:  # 0.2 to 1 GB are hashed: once, and not where no one asks
            facts = f"{self._kind.name} teacher {VERSION} transformers {self._library_version} {self._compact}"
            config = json.dumps(_without(NO_PART_OF_ANSWERS, self._model.config.to_dict()), sort_keys=True, default=str)
            parts = (facts, config, tensors_hash(self._model.state_dict()))
            self._fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self._fingerprint

    @property
    def readout_width(self) -> int:
        """Channels of the memory attention."""
        return int(self._model.config.memory_attention_hidden_size)

    def track(self, frames: Tensor, first_mask: Tensor) -> list[TeacherFrame]:
        """Frames 1 to T - 1 of a clip, tracked from the mask of frame 0.

        frames: uint8 (T, R, R, 3) RGB, any R. first_mask: uint8 (R, R), object > 127. A result has the model's mask
        logits at its stride 4 (all -1024 where it says that the object is gone), attention averaged over the heads and
        layers of the memory attention, and the output of the last layer's cross-attention before it is added to the
        queries. Tokens come from the prompted frame and the last ones, as many as the model has slots for.
        """
        check_clip(frames, first_mask)
        model, device = self._model, next(self._model.parameters()).device
        side = int(model.image_size)
        session = self._session(
            video=model_images(frames.to(device), side=side),
            video_height=frames.shape[1],
            video_width=frames.shape[2],
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        session.add_mask_inputs(session.obj_id_to_idx(OBJECT_ID), 0, model_mask(first_mask.to(device), side=side))
        session.obj_with_new_inputs = [OBJECT_ID]
        tracked = []
        cross_attentions = [layer.cross_attn_image for layer in model.memory_attention.layers]
        with torch.autocast(device.type, enabled=False), AttentionRecorder(cross_attentions) as recorder:
            model(session, frame_idx=0)
            for t in range(1, len(frames)):
                logits = model(session, frame_idx=t).pred_masks[0, 0].float().clone()
                attention, readout = recorder.take()
                rows, columns = model.backbone_feature_sizes[-1]
                frame = TeacherFrame(logits, attention, self._spans(t, len(frames)), (rows, columns), readout)
                tracked.append(compact_frame(frame, size=frames.shape[1]) if self._compact else frame)
        return [on_device(frame, frames.device) for frame in tracked]

    def _spans(self, frame: int, frames: int) -> tuple[TokenSpan, ...]:
        model = self._model
        return memory_spans(
            frame,
            slots=model.num_maskmem,
            pointer_limit=min(frames, model.config.max_object_pointers_in_encoder),
            pointer_tokens=max(1, model.hidden_dim // model.mem_dim),
            frame_spans=lambda left: self._kind.frame_spans(model, left),
        )


def model_images(frames: Tensor, *, side: int) -> Tensor:
    """Frames uint8 (T, R, R, 3) as float32 (T, 3, side, side): resized with antialiasing, then ImageNet's scale."""
    images = frames.permute(0, 3, 1, 2).float()
    resized = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
    mean, deviation = (torch.tensor(x, device=frames.device).view(3, 1, 1) for x in (IMAGE_MEAN, IMAGE_DEVIATION))
    return (resized / 255 - mean) / deviation


def model_mask(first_mask: Tensor, *, side: int) -> Tensor:
    """A mask uint8 (R, R) as float32 (1, 1, side, side) of 0 and 1, as the models' processor resizes it."""
    mask = object_mask(first_mask)
    resized = F.interpolate(mask, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return (resized >= OBJECT_SHARE).float()


def _without(names: set[str], data: object) -> object:
    """Plain data without the entries of these names, at any depth."""
    if isinstance(data, dict):
        return {str(name): _without(names, value) for name, value in data.items() if name not in names}
    if isinstance(data, list | tuple):
        return [_without(names, value) for value in data]
    return data
