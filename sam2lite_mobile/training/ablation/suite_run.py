"""Running a suite: every variant with every seed, a process each, finished runs kept, interrupted ones resumed."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Queue
from threading import Event

import msgspec
import torch

from sam2lite_mobile import __version__
from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.evaluation.conditions import this_machine
from sam2lite_mobile.evaluation.memory_choice import MemoryChoice
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.student.checkpoint import load_student
from sam2lite_mobile.training.ablation.outcome import SCHEMA_VERSION, Outcome, RunScore, read_score
from sam2lite_mobile.training.ablation.suites import Suite, Variant
from sam2lite_mobile.training.loop import train
from sam2lite_mobile.training.recipe import Recipe
from sam2lite_mobile.training.run_log import LOG_NAME, kept_lines
from sam2lite_mobile.training.run_options import RunOptions
from sam2lite_mobile.training.validation import VALIDATION_FRAMES, VALIDATION_SIZE, held_out_score

SCORE_NAME = "score.json"
CACHE_NAME = "teacher"
"""Folder of the teacher's answers: variants with the same seed see the same clips."""
POLL_SECONDS = 0.5
LOG_EVERY = 20


@dataclass(frozen=True)
class Task:
    """One run, as plain data for its process."""

    variant: str
    seed: int
    recipe: Recipe
    folder: Path
    cache: Path
    data_root: Path

    @property
    def name(self) -> str:
        """`variant-seed`: also the run's folder."""
        return f"{self.variant}-{self.seed}"


@dataclass(frozen=True)
class Progress:
    """Steps that a run has finished, of how many."""

    run: str
    step: int
    steps: int


def tasks(suite: Suite, *, base: Recipe, seeds: int, out: Path, data_root: Path) -> list[Task]:
    """All runs, seed by seed: whatever is finished when somebody stops is a comparison of all variants."""
    return [
        Task(
            variant.name,
            seed,
            variant_recipe(base, variant, seed=seed),
            out / "runs" / f"{variant.name}-{seed}",
            out / CACHE_NAME,
            data_root,
        )
        for seed in range(seeds)
        for variant in suite.variants
    ]


def variant_recipe(base: Recipe, variant: Variant, *, seed: int) -> Recipe:
    """The base recipe with a variant's change and a seed, under a name of its own."""
    changed = variant.change(base)
    return msgspec.structs.replace(changed, name=f"{base.name}-{variant.name}", seed=seed)


def run_suite(
    wanted: Sequence[Task],
    *,
    jobs: int,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[RunScore]:
    """The scores of all runs that are finished, those of an earlier call among them, in the order of `wanted`.

    jobs: processes at a time, one thread each. `stop` is asked twice a second; where it says so, the runs save their
    state and end, and the next call goes on from there. Raises what a run raises, after the others have ended.
    """
    finished = {task.name: read_score(task.folder / SCORE_NAME) for task in wanted if is_finished(task)}
    for task in wanted:
        if task.name in finished:
            on_progress(Progress(task.name, task.recipe.steps, task.recipe.steps))
    context = multiprocessing.get_context("spawn")
    with SyncManager(ctx=context) as manager:
        reports: Queue[Progress] = manager.Queue()
        ending = manager.Event()
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=ignore_interrupts) as pool:
            waiting = {pool.submit(run_task, t, reports, ending) for t in wanted if t.name not in finished}
            try:
                for score in scores_as_they_come(waiting, reports, ending, stop=stop, on_progress=on_progress):
                    finished[f"{score.variant}-{score.seed}"] = score
            except BaseException:
                ending.set()
                raise
    return [finished[task.name] for task in wanted if task.name in finished]


def scores_as_they_come(
    waiting: set[Future[RunScore | None]],
    reports: Queue[Progress],
    ending: Event,
    *,
    stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Iterator[RunScore]:
    """Each score when its run ends; none of runs that were stopped."""
    while waiting:
        done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        if stop():
            ending.set()
        while True:
            try:
                on_progress(reports.get_nowait())
            except queue.Empty:
                break
        for future in done:
            score = future.result()
            if score is not None:
                yield score


def run_task(task: Task, reports: Queue[Progress], ending: Event) -> RunScore | None:
    """Train and score one run, or go on with it; None where it was stopped before its end."""
    torch.set_num_threads(1)
    if ending.is_set():
        return None
    options = RunOptions(
        out=task.folder,
        data_root=task.data_root,
        workers=0,
        resume=True,
        log_every=LOG_EVERY,
        teacher_cache=task.cache,
    )
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    result = train(
        task.recipe,
        options,
        stop=ending.is_set,
        on_step=lambda step, line: reports.put(Progress(task.name, step, task.recipe.steps)),
    )
    if result.steps < task.recipe.steps:
        return None
    score = scored(task, result.checkpoint)
    replace_file(task.folder / SCORE_NAME, msgspec.json.encode(score))
    return score


def scored(task: Task, checkpoint: Path) -> RunScore:
    """The score of a finished run's student, tracked with the selection that it was trained with."""
    memory = MemoryChoice(selection=task.recipe.selection)
    score = held_out_score(load_student(checkpoint), task.data_root, task.recipe.hold_out, memory=memory)
    lines = kept_lines(task.folder / LOG_NAME, finished_steps=task.recipe.steps)
    return RunScore(
        task.variant,
        task.seed,
        task.recipe.digest(),
        sum(phase.clips for phase in task.recipe.phases),
        max(float(line.get("seconds", 0)) for line in lines),
        score.mean_j,
        score.mean_f,
        score.by_sequence,
    )


def is_finished(task: Task) -> bool:
    """Whether a run has a score. Raises ContractError for one of another recipe, DataError for a broken file."""
    path = task.folder / SCORE_NAME
    if not path.exists():
        return False
    if read_score(path).recipe_hash != task.recipe.digest():
        raise ContractError(
            explain(
                f"run {task.name}",
                expected="the recipe of this ablation",
                got="a score of another recipe",
                do="choose another --out folder",
            )
        )
    return True


def outcome_of(suite: Suite, scores: Sequence[RunScore], *, base: Recipe) -> Outcome:
    """The scores with where and how they were made. Raises DataError where there is none."""
    if not scores:
        raise DataError(
            explain("ablation", expected="a finished run", got="none", do="let it run until the first one ends")
        )
    return Outcome(
        SCHEMA_VERSION,
        suite.name,
        __version__,
        str(torch.__version__),
        1,
        this_machine(),
        base.hold_out,
        VALIDATION_SIZE,
        VALIDATION_FRAMES,
        tuple(scores),
    )


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the main process, which asks the runs to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
