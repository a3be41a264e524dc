"""SAM 2 and EdgeTAM video models of tiny configurations with random weights, at 64 px: a 4 x 4 feature map."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from sam2lite_mobile.training.teachers.edgetam_video import EDGETAM_VIDEO
from sam2lite_mobile.training.teachers.sam2_video import SAM2_VIDEO
from sam2lite_mobile.training.teachers.video_model import VideoModelKind, VideoModelTeacher

SIDE, GRID, WIDTH, HEADS, LAYERS = 64, 4, 128, 2, 2
MEMORY_WIDTH = 64
"""Both models have it in their code."""
SLOTS, POINTERS = 3, 3
"""Fewer than the frames of the longest clip, so that frames fall out of memory."""
KINDS = {"sam2": SAM2_VIDEO, "edgetam": EDGETAM_VIDEO}


def tiny_model(kind: VideoModelKind, *, seed: int = 0) -> Any:
    """A model whose attention is far from even. EdgeTAM's image encoder is SAM 2's here: its own needs torchvision."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _build(kind)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
            for layer in model.memory_attention.layers:
                layer.cross_attn_image.q_proj.weight.mul_(4)
            model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(100)  # the object is in view on every frame
    return model.eval()


def teacher_of(kind: VideoModelKind, model: Any, *, compact: bool = False) -> VideoModelTeacher:
    """The model as teacher, as `open_video_model` makes it."""
    module = importlib.import_module(type(model).__module__)
    session = getattr(module, kind.session)
    return VideoModelTeacher(model, kind=kind, session=session, library_version="5.23.0", compact=compact)


def noisy_clip(*, frames: int, side: int = SIDE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Frames of noise, and a mask of the upper left quarter."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (frames, side, side, 3), generator=generator, dtype=torch.uint8)
    mask = torch.zeros(side, side, dtype=torch.uint8)
    mask[: side // 2, : side // 2] = 255
    return pixels, mask


def _build(kind: VideoModelKind) -> Any:
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, Sam2VideoConfig, Sam2VideoModel

    common = {
        "vision_config": _vision(),
        "image_size": SIDE,
        "num_maskmem": SLOTS,
        "max_object_pointers_in_encoder": POINTERS,
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": WIDTH,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": LAYERS,
        "memory_attention_num_attention_heads": HEADS,
        "memory_attention_rope_feat_sizes": [GRID, GRID],
        "memory_encoder_hidden_size": WIDTH,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 16,
        "memory_fuser_num_layers": 1,
    }
    if kind is SAM2_VIDEO:
        return Sam2VideoModel(Sam2VideoConfig(memory_attention_feed_forward_hidden_size=16, **common))
    latents = {"perceiver_resampler_num_latents": 3, "perceiver_resampler_num_latents_2d": 4}
    config = EdgeTamVideoConfig(
        memory_attention_mlp_hidden_size=16, memory_attention_rope_k_sizes=[2, 2], **latents, **common
    )
    return EdgeTamVideoModel(config)


def _vision() -> dict[str, Any]:
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 4],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    return Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [GRID, GRID]],
        fpn_hidden_size=WIDTH,
    ).to_dict()
