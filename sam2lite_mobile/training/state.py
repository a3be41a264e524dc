"""The state of a run on disk: weights, their average, optimiser moments and the step, in one safetensors file.

Nothing random has to be kept: every batch and every draw is a function of the recipe's seed and the step.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sam2lite_mobile.errors import CheckpointError, explain
from sam2lite_mobile.student.checkpoint import write_atomically
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.recipe import Recipe

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_state(
    path: Path, *, student: Student, average: Student, optimizer: torch.optim.Optimizer, step: int, recipe: Recipe
) -> None:
    """Write the state after `step` finished steps, atomically."""
    tensors = {f"student.{k}": v for k, v in student.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for name, parameter in student.named_parameters():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = torch.as_tensor(value, dtype=torch.float32)
    facts = {"step": str(step), "recipe": recipe.digest(), "format": "sam2lite-training-state"}
    write_atomically(path, save({k: v.detach().contiguous() for k, v in tensors.items()}, facts))


def load_state(
    path: Path, *, student: Student, average: Student, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> int:
    """Restore a run and return how many steps it had finished. Raises CheckpointError for another recipe's state."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            explain("training state", expected="a state file", got=str(error), do="start again in a new folder")
        ) from error
    if facts.get("recipe") != recipe.digest():
        raise CheckpointError(
            explain(
                f"training state {path}",
                expected="the recipe that the run began with",
                got="another recipe",
                do="give the first recipe again, or choose a new --out folder",
            )
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    student.load_state_dict(part("student."))
    average.load_state_dict(part("average."))
    for name, parameter in student.named_parameters():
        if f"exp_avg.{name}" in tensors:
            optimizer.state[parameter] = {moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}
    return int(facts["step"])
