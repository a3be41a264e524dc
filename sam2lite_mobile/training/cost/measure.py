"""What a recipe costs here: some steps of each phase, with the real batches and the real step."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from sam2lite_mobile import __version__
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.evaluation.bench.conditions import load_average, load_notes, thread_notes
from sam2lite_mobile.evaluation.conditions import this_machine
from sam2lite_mobile.training.batches import iterate_steps
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.cost.fitting import check_device, largest_micro_clips
from sam2lite_mobile.training.cost.memory import MEMORY_SCOPE, PeakWatch
from sam2lite_mobile.training.cost.results import (
    SCHEMA_VERSION,
    WAIT_GOAL,
    CostConditions,
    PeakMemory,
    PhaseCost,
    TrainingCost,
    data_supply,
    phase_hours,
    phase_times,
)
from sam2lite_mobile.training.cost.step_times import TIMER_SCOPE, StepTimes, device_clock, timed_advance
from sam2lite_mobile.training.processes import Processes, computes_bfloat16
from sam2lite_mobile.training.recipe import Phase, Recipe
from sam2lite_mobile.training.run import Run
from sam2lite_mobile.training.run_options import RunOptions

UNTIMED_BATCHES = 3
"""First batches of a worker alone that are not timed: the first one arrives late, with others made behind it."""


@dataclass(frozen=True)
class CostPlan:
    """What is measured: `steps` timed steps of every phase, after `warm_up` steps that are thrown away.

    A shorter phase gives what it has, at least one timed step. workers, micro_clips: as in `RunOptions`. fit_batch:
    also look for the largest micro batch, on a GPU.
    """

    recipe: Recipe
    data_root: Path
    steps: int = 10
    warm_up: int = 2
    workers: int = RunOptions.workers
    micro_clips: int | None = None
    fit_batch: bool = False

    def __post_init__(self) -> None:
        """Raise ContractError for a number that makes no sense."""
        for name, least in (("steps", 1), ("warm_up", 0), ("workers", 0), ("micro_clips", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ContractError(explain(name, expected=f"{least} or more", got=value, do="correct it"))


@dataclass(frozen=True)
class Watcher:
    """stop: asked between steps and between batches. on_stage, on_step: told what is measured, and each step of it."""

    stop: Callable[[], bool] = lambda: False
    on_stage: Callable[[str], None] = lambda stage: None
    on_step: Callable[[], None] = lambda: None


class _StoppedError(Exception):
    """The watcher said stop."""


@dataclass(frozen=True)
class _Measured:
    cost: PhaseCost
    parameters: int
    notes: list[str]


def measure_cost(plan: CostPlan, processes: Processes, *, watcher: Watcher | None = None) -> TrainingCost | None:
    """The cost of each phase of a recipe on this machine. None where `watcher.stop()` said so: half is no result.

    Each phase has a run of its own, at the phase's first step with the recipe's start weights: batches, draws and
    shapes are those of a real run, and speed does not depend on the weights. Nothing is kept of it.

    Raises ContractError for more than one process and for `fit_batch` without a GPU, and what `iterate_steps` and
    `Run` raise.
    """
    if processes.count > 1:
        raise ContractError(
            explain("bench-train", expected="one process", got=processes.count, do="run it without torchrun")
        )
    if plan.fit_batch:
        check_device(processes.device)
    load_start = load_average()
    watcher = watcher or Watcher()
    try:
        with tempfile.TemporaryDirectory(prefix="sam2lite-") as folder:
            measured = [
                _measure_phase(plan, index, _run(plan, processes, Path(folder)), watcher=watcher)
                for index in range(len(plan.recipe.phases))
            ]
    except _StoppedError:
        return None
    load_end = load_average()
    threads = torch.get_num_threads()
    return TrainingCost(
        schema_version=SCHEMA_VERSION,
        conditions=_conditions(plan, processes, parameters=measured[0].parameters, loads=(load_start, load_end)),
        phases=[phase.cost for phase in measured],
        hours=sum(phase.cost.hours for phase in measured),
        notes=[
            *thread_notes(threads, os.environ),
            *load_notes(load_start, load_end, threads=threads + plan.workers),
            *_processor_notes(threads=threads, workers=plan.workers),
            *_recipe_notes(plan.recipe, processes.device),
            *(note for phase in measured for note in phase.notes),
        ],
    )


def worker_speed(data_root: Path, recipe: Recipe, steps: range, *, watcher: Watcher | None = None) -> float:
    """Clips a second that one worker process makes for some steps of one phase, while nothing else is done.

    The clock starts when its first `UNTIMED_BATCHES` are here: starting a process and finding the files is paid once.
    The worker decodes with an empty cache of images, as at the start of a run; the system may have the files in memory.
    Of fewer steps the last one is timed, a single one in this process, as it is.
    """
    watcher = watcher or Watcher()
    workers = 1 if len(steps) > 1 else 0
    untimed = min(UNTIMED_BATCHES, len(steps) - 1)
    with closing(iterate_steps(data_root, recipe, steps, workers=workers)) as made:
        began = time.perf_counter()
        for index in range(len(steps)):
            _go_on(watcher)
            if index == untimed > 0:
                began = time.perf_counter()
            next(made)
            watcher.on_step()
        return (len(steps) - untimed) * recipe.batch_clips / (time.perf_counter() - began)


def _run(plan: CostPlan, processes: Processes, folder: Path) -> Run:
    return Run(plan.recipe, folder, processes=processes, micro_clips=plan.micro_clips)


def _measure_phase(plan: CostPlan, index: int, run: Run, *, watcher: Watcher) -> _Measured:
    recipe = plan.recipe
    phase, steps = recipe.phases[index], recipe.steps_of(index)
    warm_up = min(plan.warm_up, len(steps) - 1)
    chosen = steps[: warm_up + plan.steps]
    run.step = steps.start
    watcher.on_stage(f"phase {index + 1}: training")
    peaks = PeakWatch(run.processes.device)
    timed, memory, sample = _timed_steps(plan, chosen, run, peaks=peaks, watcher=watcher)
    times = phase_times(timed[warm_up:], batch_clips=recipe.batch_clips, frames=phase.frames)
    watcher.on_stage(f"phase {index + 1}: a worker alone")
    supply = worker_speed(plan.data_root, recipe, steps[: plan.steps + UNTIMED_BATCHES], watcher=watcher)
    fitting = None
    if plan.fit_batch:
        watcher.on_stage(f"phase {index + 1}: largest micro batch")
        start = plan.micro_clips or recipe.batch_clips
        fitting = largest_micro_clips(run, sample, size=max(phase.sizes), start=start, stop=watcher.stop)
        _go_on(watcher)
    cost = PhaseCost(
        number=index + 1,
        settings=msgspec.json.decode(msgspec.json.encode(phase)),
        first_step=steps.start,
        all_steps=len(steps),
        warm_up_steps=warm_up,
        times=times,
        data=data_supply(times, worker_clips_per_s=supply, workers=plan.workers),
        memory=memory,
        hours=phase_hours(times, phase, all_steps=len(steps)),
        largest_micro_clips=fitting,
    )
    parameters = sum(parameter.numel() for parameter in run.student.parameters())
    return _Measured(cost, parameters, _phase_notes(cost, phase, since_start=peaks.since_start))


def _timed_steps(
    plan: CostPlan, steps: range, run: Run, *, peaks: PeakWatch, watcher: Watcher
) -> tuple[list[StepTimes], PeakMemory, ClipBatch]:
    """Times of each step, the peaks while the workers are alive, and the last batch."""
    clock = device_clock(run.processes.device)
    timed = []
    with closing(iterate_steps(plan.data_root, plan.recipe, steps, workers=plan.workers)) as batches:
        for _ in steps:
            _go_on(watcher)
            asked = clock()
            batch = next(batches)
            timed.append(timed_advance(run, batch, waited=clock() - asked, clock=clock))
            watcher.on_step()
        return timed, peaks.read(), batch


def _go_on(watcher: Watcher) -> None:
    if watcher.stop():
        raise _StoppedError


def _conditions(
    plan: CostPlan, processes: Processes, *, parameters: int, loads: tuple[float | None, float | None]
) -> CostConditions:
    recipe, device = plan.recipe, processes.device
    return CostConditions(
        package_version=__version__,
        torch_version=str(torch.__version__),
        machine=this_machine(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=recipe.precision if computes_bfloat16(device) else "fp32",
        threads=torch.get_num_threads(),
        workers=plan.workers,
        recipe=recipe.name,
        recipe_sha256=recipe.digest(),
        student=recipe.student,
        parameters=parameters,
        batch_clips=recipe.batch_clips,
        micro_clips=plan.micro_clips,
        seed=recipe.seed,
        data="synthetic" if recipe.data == "synthetic" else plan.data_root.resolve().name,
        timer=TIMER_SCOPE,
        memory_scope=MEMORY_SCOPE,
        load_start=loads[0],
        load_end=loads[1],
    )


def _processor_notes(*, threads: int, workers: int) -> list[str]:
    """A note where training and its workers want more processors than there are."""
    cores = os.cpu_count() or 1
    if threads + workers <= cores:
        return []
    return [
        f"{threads} threads and {workers} worker processes share {cores} cores: a worker alone is faster than beside"
    ]


def _recipe_notes(recipe: Recipe, device: torch.device) -> list[str]:
    """What a run of this recipe does here that its figures do not show."""
    notes = []
    if recipe.precision == "bf16" and not computes_bfloat16(device):
        notes.append("this device gains nothing by bf16: the recipe is computed in fp32 here")
    if recipe.distillation is not None:
        notes.append("the teacher answers in every step, as without a cache of its answers; its time is in forward")
    return notes


def _phase_notes(cost: PhaseCost, phase: Phase, *, since_start: bool) -> list[str]:
    """What a reader has to know before using a phase's figures."""
    notes, name = [], f"phase {cost.number}"
    unseen = sorted(set(phase.sizes) - {each.size for each in cost.times.by_size})
    if unseen:
        sizes = ", ".join(map(str, unseen))
        notes.append(f"{name}: no step of {sizes} px was among the timed ones; the hours leave these sizes out")
    if cost.data.settled_wait_share > WAIT_GOAL >= cost.times.wait_share:
        notes.append(f"{name}: batches made ahead during the warm-up hid the waiting; time more steps")
    if cost.warm_up_steps == 0:
        notes.append(f"{name}: nothing was warmed up; the first step waited for workers to start and files to be found")
    if since_start:
        notes.append(f"{name}: the peak of this process is that since the command started")
    return notes
