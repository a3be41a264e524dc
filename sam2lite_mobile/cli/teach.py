"""`sam2lite teach`: a teacher's answers to the clips of a recipe, made once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.cli.train import missing_extra_explained
from sam2lite_mobile.errors import ContractError, explain

RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME", help="Whose clips: a shipped recipe by name, or a TOML file.")
]
Cache = Annotated[Path, typer.Option("--cache", metavar="DIR", help="Folder of the answers; it is added to.")]
TeacherName = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="SPEC",
        help="own:NAME, own:FILE, sam2:FOLDER or edgetam:FOLDER; the recipe's teacher if left out.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="ROOT", help="Folder with train/; SAM2LITE_DATA or ../shared/data if left out."),
]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", min=1, help="The first N steps; all of them if left out.")
]
Workers = Annotated[
    int, typer.Option("--workers", metavar="N", min=0, help="Processes that make clips ahead; 0: none.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Processor threads; all cores if left out.")
]
Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where the teacher runs; auto: a GPU if any.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("teach")(teach)


def teach(
    recipe: RecipeName,
    cache: Cache,
    teacher: TeacherName = None,
    data: Data = None,
    steps: Steps = None,
    workers: Workers = 1,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Ask a teacher about the clips of a recipe ahead of training.

    DIR keeps, for every clip, the teacher's masks, attention and readouts, which `sam2lite train --teacher-cache DIR`
    then reads in place of running the teacher. What is there already is not made again, so a call that was stopped
    goes on when it is repeated. Ctrl-C ends it after the current step and exits with 130.

    Several GPUs or machines: torchrun --nproc-per-node 4 -m sam2lite_mobile.cli.main teach ... Each process takes its
    share of the steps. A recipe whose data is `synthetic` draws it into DIR-data.
    """
    with missing_extra_explained():
        import torch

        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training.batches import check_data
        from sam2lite_mobile.training.processes import open_processes
        from sam2lite_mobile.training.recipe import load_recipe
        from sam2lite_mobile.training.synthetic import write_synthetic_data
        from sam2lite_mobile.training.teachers.cache import CachedTeacher
        from sam2lite_mobile.training.teachers.filling import fill_cache, found_and_made
        from sam2lite_mobile.training.teachers.loading import open_teacher

    from sam2lite_mobile.cli.progress import item_progress

    chosen = load_recipe(recipe)
    spec = teacher or (None if chosen.distillation is None else chosen.distillation.teacher)
    if spec is None:
        raise ContractError(
            explain("--teacher", expected="a teacher", got="none, nor one in the recipe", do="name one, as own:tiny")
        )
    if threads is not None:
        torch.set_num_threads(threads)
    processes = open_processes(device)
    synthetic = chosen.data == "synthetic"
    root = cache.with_name(f"{cache.name}-data") if synthetic else training_data(data)
    if synthetic and processes.leads:
        write_synthetic_data(root)
    processes.wait_for_all()
    check_data(root, chosen)
    cached = CachedTeacher(open_teacher(spec, device=processes.device), cache)
    mine = len(range(processes.rank, min(steps or chosen.steps, chosen.steps), processes.count))
    with stop_on_interrupt() as stop, item_progress() as progress:
        task = progress.add_task("steps", total=mine, visible=processes.leads)
        done = fill_cache(
            cached,
            chosen,
            root,
            rank=processes.rank,
            count=processes.count,
            steps=steps,
            workers=workers,
            on_step=lambda finished: progress.update(task, completed=finished),
            stop=lambda: stop.requested,
        )
    totals = found_and_made(cached, processes)
    finished = processes.add_up_numbers({"done": done, "of": mine})
    if processes.leads:
        typer.echo(
            f"{finished['done']:.0f} of {finished['of']:.0f} steps: {totals['made']:.0f} clips new, "
            f"{totals['found']:.0f} found, {totals['megabytes']:.1f} MB written: {cache}"
        )
        if totals["replaced"]:
            typer.echo(f"{totals['replaced']:.0f} of the new ones replace broken files")
    if stop.requested:
        raise typer.Exit(INTERRUPTED)
