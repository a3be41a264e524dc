"""The training loop: one process, resumable at any step, with a progress bar, a JSONL log and sample pictures."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from sam2lite_mobile.errors import GateError, explain
from sam2lite_mobile.student.checkpoint import save_student, write_atomically
from sam2lite_mobile.student.student import Student, build_student
from sam2lite_mobile.training.batches import iterate_steps
from sam2lite_mobile.training.clip_forward import ClipBatch, ClipForward, ForwardSettings
from sam2lite_mobile.training.imagenet import load_imagenet_stem
from sam2lite_mobile.training.recipe import Recipe
from sam2lite_mobile.training.samples import sample_sheet
from sam2lite_mobile.training.state import load_state, save_state

FIRST_TUNED_STEM_BLOCK = 5
"""Blocks 0 to 4 keep their ImageNet weights for good; 5 to 10 are tuned late, at a tenth of the rate."""


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result of a run: where it goes, how often it is saved and logged."""

    out: Path
    data_root: Path
    workers: int = 1
    save_every: int = 200
    log_every: int = 20
    sample_every: int = 500
    resume: bool = False
    stop_after: int | None = None
    """Stop (and save) once this many steps are finished in all; None runs to the end."""


def stem_parameter(name: str) -> int | None:
    """Block index of a stem parameter, -1 for the first convolution, None for everything else."""
    prefix = "image_encoder.patches."
    if not name.startswith(prefix):
        return None
    parts = name.removeprefix(prefix).split(".")
    return int(parts[1]) if parts[0] == "blocks" else -1


def build_optimizer(student: Student, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with the methodology's moments; no weight decay on vectors; stem blocks 5 to 10 in a slower group."""
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
    return torch.optim.AdamW([g for g in settings if g["params"]], lr=recipe.learning_rate, betas=(0.9, 0.999))


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


def train(recipe: Recipe, options: RunOptions, *, console: Console | None = None) -> Path:
    """Run a recipe and return the path of the student's checkpoint (the averaged weights, float16).

    The folder `options.out` gets `student.safetensors`, `state.safetensors` (for --resume), `log.jsonl` and
    `samples/`. Interrupting with Ctrl-C saves first. Raises GateError where the loss is not finite; the batch that did
    it is saved beside the log.
    """
    console = console or Console()
    options.out.mkdir(parents=True, exist_ok=True)
    student = build_student(recipe.student, seed=recipe.seed).train()
    if recipe.stem == "imagenet":
        load_imagenet_stem(student.image_encoder.patches)  # type: ignore[arg-type]
    average = copy.deepcopy(student).eval()
    optimizer = build_optimizer(student, recipe)
    forward = ClipForward(student, ForwardSettings(), bfloat16=recipe.precision == "bf16")
    state_file, checkpoint = options.out / "state.safetensors", options.out / "student.safetensors"
    step = 0
    if options.resume and state_file.exists():
        step = load_state(state_file, student=student, average=average, optimizer=optimizer, recipe=recipe)
        console.print(f"resumed after step {step} of {recipe.steps}")
    last_step = min(recipe.steps, options.stop_after or recipe.steps)

    def save(finished: int) -> None:
        save_state(state_file, student=student, average=average, optimizer=optimizer, step=finished, recipe=recipe)
        facts = {"recipe": recipe.name, "recipe_hash": recipe.digest(), "steps": str(finished)}
        save_student(average, checkpoint, facts=facts | {"clips": str(finished * recipe.batch_clips)})

    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress,
        (options.out / "log.jsonl").open("a", encoding="utf-8") as log,
    ):
        bar = progress.add_task(recipe.name, total=recipe.steps, completed=step, note="")
        started, waiting = time.monotonic(), 0.0
        recent: dict[str, list[float]] = {}
        try:
            if step < last_step:
                asked = time.monotonic()
                for batch in iterate_steps(options.data_root, recipe, step, workers=options.workers):
                    waiting += time.monotonic() - asked
                    parts, predictions = train_step(student, forward, optimizer, recipe, batch, step, options.out)
                    update_average(average, student, decay=recipe.average_decay, step=step)
                    for name, value in parts.items():
                        recent.setdefault(name, []).append(value)
                    step += 1
                    if step % options.log_every == 0 or step == last_step:
                        spent = time.monotonic() - started
                        line = {k: round(sum(v) / len(v), 5) for k, v in recent.items()}
                        line |= {"step": step, "clips": step * recipe.batch_clips, "size": batch.frames.shape[2]}
                        line |= {"rate": learning_rate(recipe, step - 1), "seconds": round(spent, 1)}
                        line |= {"data_wait_share": round(waiting / spent, 4)}
                        log.write(json.dumps(line) + "\n")
                        log.flush()
                        recent.clear()
                        progress.update(bar, note=f"loss {line['loss']:.3f} IoU {line['last_iou']:.3f}")
                    progress.update(bar, completed=step)
                    if step % options.sample_every == 0:
                        picture = sample_sheet(batch, predictions)
                        write_atomically(options.out / "samples" / f"{step:06d}.png", picture)
                    if step % options.save_every == 0:
                        save(step)
                    if step >= last_step:
                        break
                    asked = time.monotonic()
        finally:
            save(step)
    return checkpoint


def train_step(
    student: Student,
    forward: ClipForward,
    optimizer: torch.optim.AdamW,
    recipe: Recipe,
    batch: ClipBatch,
    step: int,
    out: Path,
) -> tuple[dict[str, float], Tensor]:
    """One optimiser step. Returns the parts of the loss by name, and the predicted logits (batch, T, R/4, R/4)."""
    tuned = recipe.stem != "imagenet" or step >= recipe.tune_stem_after * recipe.steps
    for name, parameter in student.named_parameters():
        block = stem_parameter(name)
        if block is not None and (block >= FIRST_TUNED_STEM_BLOCK or recipe.stem != "imagenet"):
            parameter.requires_grad_(tuned)
    rate = learning_rate(recipe, step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    outcome = forward(batch, generator)
    if not math.isfinite(outcome.parts["loss"]):
        from safetensors.torch import save as to_bytes

        path = out / f"not_finite_{step:06d}.safetensors"
        write_atomically(path, to_bytes({"frames": batch.frames, "masks": batch.masks}))
        raise GateError(
            explain(
                f"loss at step {step}",
                expected="a finite value",
                got=outcome.parts["loss"],
                do=f"look at the batch in {path.name}, lower the learning rate, resume",
            )
        )
    optimizer.zero_grad(set_to_none=True)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for p in student.parameters() if p.grad is not None], recipe.clip_norm)
    optimizer.step()
    return outcome.parts, outcome.predictions
