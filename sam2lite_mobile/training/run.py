"""A student in training: one step at a time, saved and resumed so that no step is lost, doubled or half taken."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from sam2lite_mobile.engines.denormals import flushed_denormals
from sam2lite_mobile.errors import GateError, explain
from sam2lite_mobile.student.checkpoint import safetensors_bytes, save_student, write_atomically
from sam2lite_mobile.student.student import build_student
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clip_forward import ClipForward, ClipOutcome
from sam2lite_mobile.training.distillation import ReadoutProjection
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.imagenet import load_imagenet_stem
from sam2lite_mobile.training.lessons import STUDENT_READOUT_WIDTH, lessons_of
from sam2lite_mobile.training.optimization import build_optimizer, prepare_step, update_average
from sam2lite_mobile.training.processes import Processes, computes_bfloat16
from sam2lite_mobile.training.recipe import Recipe
from sam2lite_mobile.training.start import start_from
from sam2lite_mobile.training.state import load_state, save_state
from sam2lite_mobile.training.teachers.loading import open_teacher
from sam2lite_mobile.training.teachers.teacher import Teacher

STATE_NAME = "state.safetensors"
CHECKPOINT_NAME = "student.safetensors"
BEST_NAME = "best.safetensors"
SEED_STRIDE = 1_000_003
"""The draws of a recipe's seed and of the next one do not meet within this many steps."""


class Run:
    """The weights, their moving average, the optimiser's moments, and `step`, the number of finished steps.

    Between two calls of `advance` these four belong together, whatever `advance` raised: it changes nothing before
    the loss and all gradients are known to be finite. Nothing else has to be kept, because every batch and every draw
    is a function of the recipe's seed and the step.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        processes: Processes | None = None,
        micro_clips: int | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """A run at step 0, equal in all processes. `folder` need not exist yet.

        micro_clips: clips that go through the student at once, None for all of a batch that `advance` is given.
        teacher: the recipe's, where it has distillation; None opens it.
        Raises MissingBackendError without the ImageNet weights, and what `open_teacher` raises.
        """
        self.recipe = recipe
        self.folder = folder
        self.processes = processes or Processes()
        self.micro_clips = micro_clips
        self.student = build_student(recipe.student, seed=recipe.seed, patch_embed=recipe.patch_embed).train()
        if recipe.stem == "imagenet":
            load_imagenet_stem(self.student.image_encoder.patches)  # type: ignore[arg-type]
        self._start = (
            {}
            if recipe.start_from is None
            else start_from(self.student, recipe.start_from, fresh_gate=recipe.fresh_gate)
        )
        self.student.to(self.processes.device)
        self.average = copy.deepcopy(self.student).eval()
        self.teacher, self.projection = None, None
        if recipe.distillation is not None:
            device = self.processes.device
            self.teacher = teacher or open_teacher(recipe.distillation.teacher, device=device)
            self.projection = ReadoutProjection(STUDENT_READOUT_WIDTH, self.teacher.readout_width).to(device)
        self.optimizer = build_optimizer(self.student, recipe, projection=self.projection)
        self.step = 0
        bfloat16 = recipe.precision == "bf16" and computes_bfloat16(self.processes.device)
        self.precision = "bf16" if bfloat16 else "fp32"
        self._forwards = [
            ClipForward(self.student, ForwardSettings.of(recipe, phase), bfloat16=bfloat16, projection=self.projection)
            for phase in recipe.phases
        ]

    @flushed_denormals()
    def advance(self, batch: ClipBatch) -> ClipOutcome:
        """Take one optimiser step on this process's rows of a batch, and count it. All processes call it together.

        The outcome's parts are means over the rows of all processes. Raises GateError, in all of them, where the loss
        or a gradient is not finite; the rows that did it are saved in the folder.
        """
        recipe = self.recipe
        prepare_step(self.student, self.optimizer, recipe, step=self.step)
        self.optimizer.zero_grad(set_to_none=True)
        forward = self._forwards[recipe.phase_at(self.step)[0]]
        outcomes = []
        for piece in batch.pieces(self.micro_clips):
            generator = torch.Generator().manual_seed(recipe.seed * SEED_STRIDE + self.step)
            clips = piece.to(self.processes.device)
            lessons = None if self.teacher is None else lessons_of(self.teacher, clips)
            outcome = forward(clips, generator, progress=self.step / recipe.steps, lessons=lessons)
            share = piece.count / recipe.batch_clips
            (outcome.loss * share).backward()  # type: ignore[no-untyped-call]
            outcomes.append((outcome, share))
        parts = self.processes.add_up_numbers(weighted_parts(outcomes))
        gradients = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.processes.add_up([p.grad for p in gradients if p.grad is not None])
        if not math.isfinite(parts["loss"]):
            self._refuse(batch, what="loss", got=parts["loss"])
        norm = float(torch.nn.utils.clip_grad_norm_(gradients, recipe.clip_norm))
        if not math.isfinite(norm):
            self._refuse(batch, what="gradient norm", got=norm)
        self.optimizer.step()
        update_average(self.average, self.student, decay=recipe.average_decay, step=self.step)
        self.step += 1
        return ClipOutcome(outcomes[-1][0].loss, parts, torch.cat([outcome.predictions for outcome, _ in outcomes]))

    def save(self) -> None:
        """Write the state, then the averaged student as a checkpoint; each file is the old one or the new one."""
        save_state(
            self.folder / STATE_NAME,
            student=self.student,
            average=self.average,
            optimizer=self.optimizer,
            projection=self.projection,
            step=self.step,
            recipe=self.recipe,
        )
        save_student(self.average, self.folder / CHECKPOINT_NAME, facts=self._facts())

    def save_best(self, mean_j: float) -> None:
        """Write the averaged student as the best one so far, with its score on the held-out sequences."""
        save_student(self.average, self.folder / BEST_NAME, facts=self._facts() | {"held_out_j": repr(mean_j)})

    def resume(self) -> bool:
        """Go back to the last saved state; False where none was saved. Raises CheckpointError for one of no use."""
        path = self.folder / STATE_NAME
        if not path.exists():
            return False
        self.step = load_state(
            path,
            student=self.student,
            average=self.average,
            optimizer=self.optimizer,
            projection=self.projection,
            recipe=self.recipe,
        )
        return True

    def _facts(self) -> dict[str, str]:
        recipe = self.recipe
        clips = str(self.step * recipe.batch_clips)
        facts = {"recipe": recipe.name, "recipe_hash": recipe.digest(), "steps": str(self.step), "clips": clips}
        taught = {} if self.teacher is None else {"teacher": self.teacher.fingerprint}
        return facts | {"precision": self.precision} | self._start | taught

    def _refuse(self, batch: ClipBatch, *, what: str, got: float) -> NoReturn:
        path = self.folder / f"not_finite_{self.step:06d}.safetensors"
        tensors = {"frames": batch.frames, "masks": batch.masks, "points": batch.points, "labels": batch.labels}
        facts = {"step": str(self.step), "corrected_frame": str(batch.corrected_frame)}
        write_atomically(path, safetensors_bytes(tensors, facts))
        raise GateError(
            explain(
                f"{what} at step {self.step}",
                expected="a finite value",
                got=got,
                do=f"look at the batch in {path.name}, lower the learning rate, start again",
            )
        )


def weighted_parts(outcomes: Sequence[tuple[ClipOutcome, float]]) -> dict[str, float]:
    """The sum of each part of some outcomes, each times its share of the batch."""
    totals: dict[str, float] = {}
    for outcome, share in outcomes:
        for name, value in outcome.parts.items():
            totals[name] = totals.get(name, 0.0) + value * share
    return totals
