"""What changes the weights: parameter groups, frozen and tuned stem blocks, the learning rate, the averaged student."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.distillation import ReadoutProjection
from sam2lite_mobile.training.recipe import Recipe

FIRST_TUNED_STEM_BLOCK = 5
"""Blocks 0 to 4 keep their ImageNet weights for good; 5 to 10 are tuned late, at a tenth of the rate."""
GATE_PREFIX = "token_gate."
MOMENT_DECAYS = (0.9, 0.999)


def stem_parameter(name: str) -> int | None:
    """Block index of a stem parameter, -1 for the first convolution, None for everything else."""
    prefix = "image_encoder.patches."
    if not name.startswith(prefix):
        return None
    parts = name.removeprefix(prefix).split(".")
    return int(parts[1]) if parts[0] == "blocks" else -1


def build_optimizer(
    student: Student, recipe: Recipe, *, projection: ReadoutProjection | None = None
) -> torch.optim.AdamW:
    """AdamW with the methodology's moments; no weight decay on vectors; stem blocks 5 to 10 in a slower group.

    What is not trained gets no gradient from here on: the first blocks of an ImageNet stem, and all but the token gate
    where the recipe trains that alone. Each group has a `share` of the learning rate.
    projection: of readouts for a teacher, trained beside the student.
    """
    groups: dict[str, list[Tensor]] = {"decayed": [], "plain": [], "stem": []}
    for name, parameter in student.named_parameters():
        block = stem_parameter(name)
        if recipe.trains == "gate" and not name.startswith(GATE_PREFIX):
            parameter.requires_grad_(False)
        elif block is not None and recipe.stem == "imagenet":
            if block >= FIRST_TUNED_STEM_BLOCK:
                groups["stem"].append(parameter)
            else:
                parameter.requires_grad_(False)
        else:
            groups["decayed" if parameter.dim() > 1 else "plain"].append(parameter)
    groups["decayed"] += [] if projection is None else list(projection.parameters())
    settings = [
        {"params": groups["decayed"], "weight_decay": recipe.weight_decay, "share": 1.0},
        {"params": groups["plain"], "weight_decay": 0.0, "share": 1.0},
        {"params": groups["stem"], "weight_decay": 0.0, "share": recipe.stem_rate_share},
    ]
    return torch.optim.AdamW([g for g in settings if g["params"]], lr=recipe.learning_rate, betas=MOMENT_DECAYS)


def prepare_step(student: Student, optimizer: torch.optim.AdamW, recipe: Recipe, *, step: int) -> None:
    """Set the learning rate of a step (from 0), and whether the later blocks of an ImageNet stem are trained in it."""
    if recipe.stem == "imagenet" and recipe.trains == "all":
        tuned = step >= recipe.tune_stem_after * recipe.steps
        for name, parameter in student.named_parameters():
            block = stem_parameter(name)
            if block is not None and block >= FIRST_TUNED_STEM_BLOCK:
                parameter.requires_grad_(tuned)
    rate = learning_rate(recipe, step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rate of a step: linear warm-up, then the recipe's schedule down to `final_share`.

    The schedule goes over the whole run; in a phase with a rate of its own, over that phase. Exponential decay is the
    methodology's (section 5.2).
    """
    index, phase = recipe.phase_at(step)
    steps = range(recipe.steps) if phase.learning_rate is None else recipe.steps_of(index)
    full = recipe.learning_rate if phase.learning_rate is None else phase.learning_rate
    warm = min(1.0, (step + 1) / max(recipe.warmup_steps, 1))
    done = (step - steps.start) / max(len(steps), 1)
    if recipe.schedule == "exponential":
        return full * warm * float(recipe.final_share**done)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return full * warm * (recipe.final_share + (1 - recipe.final_share) * cosine)


def update_average(average: Student, student: Student, *, decay: float, step: int) -> None:
    """Exponential moving average of the weights; young runs average over fewer steps."""
    rate = 1 - min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        for mean, value in zip(average.parameters(), student.parameters(), strict=True):
            mean.lerp_(value, rate)
