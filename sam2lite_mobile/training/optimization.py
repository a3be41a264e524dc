"""What changes the weights: parameter groups, frozen and tuned stem blocks, the learning rate, the averaged student."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.recipe import Recipe

FIRST_TUNED_STEM_BLOCK = 5
"""Blocks 0 to 4 keep their ImageNet weights for good; 5 to 10 are tuned late, at a tenth of the rate."""
MOMENT_DECAYS = (0.9, 0.999)


def stem_parameter(name: str) -> int | None:
    """Block index of a stem parameter, -1 for the first convolution, None for everything else."""
    prefix = "image_encoder.patches."
    if not name.startswith(prefix):
        return None
    parts = name.removeprefix(prefix).split(".")
    return int(parts[1]) if parts[0] == "blocks" else -1


def build_optimizer(student: Student, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with the methodology's moments; no weight decay on vectors; stem blocks 5 to 10 in a slower group.

    The frozen blocks of an ImageNet stem get no gradient from here on. Each group has a `share` of the learning rate.
    """
    groups: dict[str, list[Tensor]] = {"decayed": [], "plain": [], "stem": []}
    for name, parameter in student.named_parameters():
        block = stem_parameter(name)
        if block is not None and recipe.stem == "imagenet":
            if block >= FIRST_TUNED_STEM_BLOCK:
                groups["stem"].append(parameter)
            else:
                parameter.requires_grad_(False)
        else:
            groups["decayed" if parameter.dim() > 1 else "plain"].append(parameter)
    settings = [
        {"params": groups["decayed"], "weight_decay": recipe.weight_decay, "share": 1.0},
        {"params": groups["plain"], "weight_decay": 0.0, "share": 1.0},
        {"params": groups["stem"], "weight_decay": 0.0, "share": recipe.stem_rate_share},
    ]
    return torch.optim.AdamW([g for g in settings if g["params"]], lr=recipe.learning_rate, betas=MOMENT_DECAYS)


def prepare_step(student: Student, optimizer: torch.optim.AdamW, recipe: Recipe, *, step: int) -> None:
    """Set the learning rate of a step (from 0), and whether the later blocks of an ImageNet stem are trained in it."""
    if recipe.stem == "imagenet":
        tuned = step >= recipe.tune_stem_after * recipe.steps
        for name, parameter in student.named_parameters():
            block = stem_parameter(name)
            if block is not None and block >= FIRST_TUNED_STEM_BLOCK:
                parameter.requires_grad_(tuned)
    rate = learning_rate(recipe, step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rate of a step: linear warm-up, then a cosine over the whole run down to `final_share`."""
    warm = min(1.0, (step + 1) / max(recipe.warmup_steps, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(recipe.steps, 1)))
    return recipe.learning_rate * warm * (recipe.final_share + (1 - recipe.final_share) * cosine)


def update_average(average: Student, student: Student, *, decay: float, step: int) -> None:
    """Exponential moving average of the weights; young runs average over fewer steps."""
    rate = 1 - min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        for mean, value in zip(average.parameters(), student.parameters(), strict=True):
            mean.lerp_(value, rate)
