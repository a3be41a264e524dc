"""The training loop: resumable at any step, with a JSONL log, sample pictures and held-out scores.

It runs in every process of a run alike; the one that leads writes the files, and all of them stop together.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from sam2lite_mobile.errors import ContractError, Sam2LiteError, explain
from sam2lite_mobile.student.checkpoint import read_header, write_atomically
from sam2lite_mobile.training.batches import check_data, iterate_steps, warn
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clip_forward import ClipOutcome
from sam2lite_mobile.training.learning_curve import write_learning_curve
from sam2lite_mobile.training.optimization import learning_rate
from sam2lite_mobile.training.processes import Processes
from sam2lite_mobile.training.recipe import Recipe
from sam2lite_mobile.training.run import BEST_NAME, CHECKPOINT_NAME, STATE_NAME, Run
from sam2lite_mobile.training.run_log import RunLog
from sam2lite_mobile.training.run_options import RunOptions
from sam2lite_mobile.training.samples import sample_sheet
from sam2lite_mobile.training.teachers.cache import CachedTeacher
from sam2lite_mobile.training.teachers.loading import open_teacher
from sam2lite_mobile.training.teachers.teacher import Teacher
from sam2lite_mobile.training.validation import held_out_score

SAMPLES_FOLDER = "samples"

StepObserver = Callable[[int, Mapping[str, float] | None], None]
"""Called at the start and after every step: the number of finished steps, and the log line if one was written."""


@dataclass(frozen=True)
class RunResult:
    """The student's checkpoint (averaged weights, float16), and how many of the recipe's steps are finished."""

    checkpoint: Path
    steps: int


def train(
    recipe: Recipe,
    options: RunOptions,
    *,
    processes: Processes | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_step: StepObserver = lambda step, line: None,
) -> RunResult:
    """Run a recipe, or go on with it, until its end, `options.stop_after` steps or `stop()`, which is asked each step.

    The folder `options.out` gets `student.safetensors`, `state.safetensors` (to resume from), `log.jsonl`, `samples/`,
    and `best.safetensors` if held-out sequences are measured. Everything is saved when the loop ends and when the data
    or a loss stops it; weights saved are always those of a whole number of steps. A run that was stopped and resumed
    ends with the same bits as one that was not, on one machine with the same number of threads and processes.

    processes: those of this run (`open_processes`); None for this one alone. Each trains on its share of every batch.

    Raises ContractError for a folder that holds something and is not resumed, DataError for missing or broken data,
    CheckpointError for a state of another recipe, GateError where a loss or gradient is not finite; the batch that
    did it is saved beside the log.
    """
    processes = processes or Processes()
    _check_folder(options.out, resume=options.resume)
    check_data(options.data_root, recipe)
    if options.validate_every and not recipe.hold_out:
        raise ContractError(
            explain("validation", expected="held-out sequences", got="none in the recipe", do="name some in hold_out")
        )
    run = Run(
        recipe,
        options.out,
        processes=processes,
        micro_clips=options.micro_clips,
        teacher=cached_teacher(recipe, options.teacher_cache, device=processes.device),
    )
    processes.wait_for_all()  # all have seen the folder as it was
    if processes.leads:
        _prepare_folder(options.out)
    processes.wait_for_all()
    if options.resume:
        run.resume()
    last_step = recipe.steps if options.stop_after is None else min(recipe.steps, options.stop_after)
    on_step(run.step, None)
    rows = processes.rows(recipe.batch_clips)
    with RunLog(options.out, finished_steps=run.step) if processes.leads else nullcontext() as log, ExitStack() as end:

        def on_skipped(report: str) -> None:
            warn(report)
            if log is not None:
                log.write_skipped(run.step, report)

        batches = iterate_steps(
            options.data_root,
            recipe,
            range(run.step, recipe.steps),
            workers=options.workers,
            rows=rows,
            on_skipped=on_skipped,
        )
        end.callback(batches.close)
        try:
            while run.step < last_step and not processes.any(stop()):
                asked = time.monotonic()
                batch = next(batches)
                waited = time.monotonic() - asked
                outcome = run.advance(batch)
                if log is None:
                    continue
                log.collect(outcome.parts, waited=waited)
                line = _record(run, options, batch, outcome, log=log, last=run.step == last_step)
                on_step(run.step, line)
        except Sam2LiteError:
            if processes.leads:
                run.save()
            raise
        if processes.leads:
            run.save()
            write_learning_curve(options.out, recipe, steps=run.step)
    processes.wait_for_all()
    return RunResult(options.out / CHECKPOINT_NAME, run.step)


def _record(
    run: Run, options: RunOptions, batch: ClipBatch, outcome: ClipOutcome, *, log: RunLog, last: bool
) -> dict[str, float] | None:
    """Log, picture, measurement and saved state of the step just finished, where they are due. Returns the log line."""
    step, recipe, line = run.step, run.recipe, None
    if step % options.log_every == 0 or last:
        facts = {"clips": step * recipe.batch_clips, "size": batch.frames.shape[2]}
        line = log.write_means(step, facts | {"rate": learning_rate(recipe, step - 1)})
    ends_phase = step - 1 == recipe.steps_of(recipe.phase_at(step - 1)[0])[-1]
    if step % options.sample_every == 0 or ends_phase:
        picture = sample_sheet(batch, outcome.predictions.cpu())
        write_atomically(options.out / SAMPLES_FOLDER / f"{step:06d}.png", picture)
    if options.validate_every and (step % options.validate_every == 0 or step == recipe.steps):
        _validate(run, options.data_root, log)
    if step % options.save_every == 0 and not last:
        run.save()
    return line


def _validate(run: Run, data_root: Path, log: RunLog) -> None:
    """Measure the averaged student on the held-out sequences, and keep it if it is the best so far."""
    student = run.average
    if run.processes.device.type != "cpu":
        student = copy.deepcopy(student).cpu()  # the tracker and its torch engine work on the CPU
    score = held_out_score(student, data_root, run.recipe.hold_out)
    log.write_validation(run.step, score.mean_j, score.by_sequence)
    best = run.folder / BEST_NAME
    if not best.exists() or score.mean_j > float(read_header(best)[1].get("held_out_j", 0)):
        run.save_best(score.mean_j)


def cached_teacher(recipe: Recipe, folder: Path | None, *, device: torch.device) -> Teacher | None:
    """The recipe's teacher in front of a folder of its answers; None where there is no teacher, or no folder."""
    if recipe.distillation is None or folder is None:
        return None
    return CachedTeacher(open_teacher(recipe.distillation.teacher, device=device), folder)


def _check_folder(folder: Path, *, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ContractError(explain(f"output {folder}", expected="a folder", got="a file", do="choose another name"))
    if not resume and folder.exists() and any(folder.iterdir()):
        raise ContractError(
            explain(
                f"output {folder}",
                expected="a new or empty folder",
                got=f"a run ({STATE_NAME})" if (folder / STATE_NAME).exists() else "files",
                do="add --resume to go on with a run, or choose another folder",
            )
        )


def _prepare_folder(folder: Path) -> None:
    """Make the folder, and remove what a killed process left of a file that it was writing."""
    make_folder(folder)
    for leftover in folder.glob(".*.partial"):
        leftover.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder where there is none. Raises ContractError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ContractError(
            explain(f"output {folder}", expected="a place to write", got=error.strerror, do="choose another folder")
        ) from error
