"""`sam2lite bench-train`: what a recipe costs on this machine, into tables and a JSON file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.cli.train import (
    Data,
    Device,
    MicroClips,
    RecipeName,
    Threads,
    Workers,
    missing_extra_explained,
)
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.training.run_options import RunOptions

Steps = Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Timed steps of every phase.")]
WarmUp = Annotated[int, typer.Option("--warm-up", metavar="N", min=0, help="Steps before them, thrown away.")]
FitBatch = Annotated[
    bool, typer.Option("--fit-batch", help="On a GPU: also find the most clips that its memory holds at once.")
]
Result = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the result goes.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("bench-train")(bench_train)


def bench_train(
    recipe: RecipeName,
    data: Data = None,
    steps: Steps = 10,
    warm_up: WarmUp = 2,
    workers: Workers = RunOptions.workers,
    threads: Threads = None,
    device: Device = "auto",
    micro_clips: MicroClips = None,
    fit_batch: FitBatch = False,
    result: Result = None,
) -> None:
    """Measure what training costs: speed, waiting for data and memory of each phase.

    Every phase takes a few real steps from its first one on; nothing of them is kept. The tables say how much of a
    step is spent waiting for its batch (the goal is under 10 %), how fast one worker process makes clips by itself and
    how many of them this speed needs, and what the whole recipe would take.

    Sizes of clips are drawn step by step: with few steps a phase of many sizes is measured on some of them, and a note
    says which are left out. Ctrl-C exits with 130 and writes nothing.
    """
    with missing_extra_explained():
        import torch

        from sam2lite_mobile.cli.bench_train_table import print_cost
        from sam2lite_mobile.cli.progress import item_progress
        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training.cost.measure import CostPlan, Watcher, measure_cost
        from sam2lite_mobile.training.cost.results import write_cost
        from sam2lite_mobile.training.processes import open_processes
        from sam2lite_mobile.training.recipe import load_recipe

    if result is not None and not result.resolve().parent.is_dir():
        raise ContractError(explain("--json", expected="a file in an existing folder", got=result, do="create it"))
    chosen = load_recipe(recipe)
    if threads is not None:
        torch.set_num_threads(threads)
    processes = open_processes(device)
    with ExitStack() as stack:
        root = _drawn_data(stack) if chosen.data == "synthetic" else training_data(data)
        plan = CostPlan(
            chosen,
            root,
            steps=steps,
            warm_up=warm_up,
            workers=workers,
            micro_clips=micro_clips,
            fit_batch=fit_batch,
        )
        stop = stack.enter_context(stop_on_interrupt())
        progress = stack.enter_context(item_progress())
        task = progress.add_task("loading", total=None)
        watcher = Watcher(
            stop=lambda: stop.requested,
            on_stage=lambda stage: progress.reset(task, description=stage, total=None),
            on_step=lambda: progress.advance(task),
        )
        cost = measure_cost(plan, processes, watcher=watcher)
    if cost is None:
        raise typer.Exit(INTERRUPTED)
    if result is not None:
        write_cost(result, cost)
    print_cost(cost)


def _drawn_data(stack: ExitStack) -> Path:
    """A folder of synthetic data that is gone when the stack is closed."""
    import tempfile

    from sam2lite_mobile.training.synthetic import write_synthetic_data

    return write_synthetic_data(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sam2lite-data-"))))
