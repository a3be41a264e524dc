"""The state of a run on disk: weights, their average, optimiser moments and the step, in one safetensors file.

Nothing random has to be kept: every batch and every draw is a function of the recipe's seed and the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sam2lite_mobile.errors import CheckpointError, explain
from sam2lite_mobile.student.checkpoint import safetensors_bytes, write_atomically
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.recipe import Recipe

FORMAT = "sam2lite-training-state"
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
    facts = {"step": str(step), "recipe": recipe.digest(), "format": FORMAT}
    write_atomically(path, safetensors_bytes({k: v.detach().contiguous() for k, v in tensors.items()}, facts))


def load_state(
    path: Path, *, student: Student, average: Student, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> int:
    """Restore a run and return how many steps it had finished.

    Raises CheckpointError for another recipe's state, or a file that is not whole; nothing is restored then.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, str] = dict(file.metadata() or {})
            # Copied out of the file's memory map: it must not change under the optimiser.
            tensors: dict[str, Tensor] = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unusable(path, got=str(error)) from error
    if facts.get("format") != FORMAT or not facts.get("step", "").isdecimal():
        raise _unusable(path, got=f"a file with the header {sorted(facts)}")
    if facts.get("recipe") != recipe.digest():
        raise CheckpointError(
            explain(
                f"training state {path}",
                expected="the recipe that the run began with",
                got="another recipe",
                do="give the first recipe again, or choose a new --out folder",
            )
        )
    if problems := _problems(tensors, student):
        raise _unusable(path, got="; ".join(problems[:5]))

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    student.load_state_dict(part("student."))
    average.load_state_dict(part("average."))
    for name, parameter in student.named_parameters():
        if f"exp_avg.{name}" in tensors:
            optimizer.state[parameter] = {moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}
    return int(facts["step"])


def _problems(tensors: Mapping[str, Tensor], student: Student) -> list[str]:
    """What is wrong with the entries: weights have to be there twice; a parameter's moments all, or none of them."""
    shapes = {f"{which}.{k}": v.shape for which in ("student", "average") for k, v in student.state_dict().items()}
    for name, parameter in student.named_parameters():
        if any(f"{moment}.{name}" in tensors for moment in MOMENTS):
            shapes |= {f"exp_avg.{name}": parameter.shape, f"exp_avg_sq.{name}": parameter.shape}
            shapes[f"step.{name}"] = torch.Size([])
    problems = [f"unknown entry {name}" for name in sorted(set(tensors) - set(shapes))]
    problems += [f"missing entry {name}" for name in sorted(set(shapes) - set(tensors))]
    for name in sorted(set(shapes) & set(tensors)):
        if tensors[name].shape != shapes[name] or tensors[name].dtype != torch.float32:
            problems.append(f"{name} is {tuple(tensors[name].shape)} {tensors[name].dtype}")
    return problems


def _unusable(path: Path, *, got: str) -> CheckpointError:
    return CheckpointError(
        explain(f"training state {path}", expected="the state of a run", got=got, do="start again in a new folder")
    )
