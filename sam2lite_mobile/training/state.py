"""The state of a run on disk: weights, their average, optimiser moments and the step, in one safetensors file.

Nothing random has to be kept: every batch and every draw is a function of the recipe's seed and the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sam2lite_mobile.errors import CheckpointError, explain
from sam2lite_mobile.student.checkpoint import safetensors_bytes, write_atomically
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.distillation import ReadoutProjection
from sam2lite_mobile.training.recipe import Recipe

FORMAT = "sam2lite-training-state"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_state(
    path: Path,
    *,
    student: Student,
    average: Student,
    optimizer: torch.optim.Optimizer,
    projection: ReadoutProjection | None = None,
    step: int,
    recipe: Recipe,
) -> None:
    """Write the state after `step` finished steps, atomically. projection: what is trained beside the student."""
    tensors = {f"average.{k}": v for k, v in average.state_dict().items()}
    tensors |= {f"{part}.{k}": v for part, m in _trained(student, projection) for k, v in m.state_dict().items()}
    for name, parameter in _parameters(student, projection):
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = torch.as_tensor(value, dtype=torch.float32)
    facts = {"step": str(step), "recipe": recipe.digest(), "format": FORMAT}
    write_atomically(path, safetensors_bytes({k: v.detach().contiguous() for k, v in tensors.items()}, facts))


def load_state(
    path: Path,
    *,
    student: Student,
    average: Student,
    optimizer: torch.optim.Optimizer,
    projection: ReadoutProjection | None = None,
    recipe: Recipe,
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
    if problems := _problems(tensors, student, projection):
        raise _unusable(path, got="; ".join(problems[:5]))

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    average.load_state_dict(part("average."))
    for prefix, module in _trained(student, projection):
        module.load_state_dict(part(f"{prefix}."))
    for name, parameter in _parameters(student, projection):
        if f"exp_avg.{name}" in tensors:
            moments = {moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}
            # The count of steps stays on the CPU, where torch's optimisers keep it.
            optimizer.state[parameter] = {k: v if k == "step" else v.to(parameter.device) for k, v in moments.items()}
    return int(facts["step"])


def _trained(student: Student, projection: ReadoutProjection | None) -> list[tuple[str, nn.Module]]:
    """What is trained, by the prefix of its entries."""
    beside: list[tuple[str, nn.Module]] = [] if projection is None else [("projection", projection)]
    return [("student", student), *beside]


def _parameters(student: Student, projection: ReadoutProjection | None) -> list[tuple[str, nn.Parameter]]:
    """Parameters by the name of their moments: the student's by their own, the projection's behind its prefix."""
    beside = [] if projection is None else list(projection.named_parameters(prefix="projection"))
    return [*student.named_parameters(), *beside]


def _problems(tensors: Mapping[str, Tensor], student: Student, projection: ReadoutProjection | None) -> list[str]:
    """What is wrong with the entries: weights have to be there twice; a parameter's moments all, or none of them."""
    shapes = {f"average.{k}": v.shape for k, v in student.state_dict().items()}
    shapes |= {f"{part}.{k}": v.shape for part, m in _trained(student, projection) for k, v in m.state_dict().items()}
    for name, parameter in _parameters(student, projection):
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
