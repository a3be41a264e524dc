"""`sam2lite train`: a recipe in, a student's checkpoint out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.errors import MissingBackendError, explain
from sam2lite_mobile.training.run_options import RunOptions

RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME|FILE", help="A shipped recipe (nano_cpu), or a TOML file.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="New or empty folder for the run.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="ROOT", help="Folder with train/; SAM2LITE_DATA or ../shared/data if left out."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in DIR, from its last saved step.")]
Workers = Annotated[
    int, typer.Option("--workers", metavar="N", min=0, help="Processes that make clips ahead; 0: none.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Processor threads; all cores if left out.")
]
Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where the student is trained; auto: a GPU if any.")
]
MicroClips = Annotated[
    int | None,
    typer.Option("--micro-clips", metavar="N", min=1, help="Clips in memory at once; their gradients add up."),
]
TeacherCache = Annotated[
    Path | None,
    typer.Option("--teacher-cache", metavar="DIR", help="Keep the teacher's answers here, and use those that are."),
]
StopAfter = Annotated[
    int | None, typer.Option("--stop-after", metavar="STEPS", min=1, help="Save and stop after this step.")
]
SaveEvery = Annotated[int, typer.Option("--save-every", metavar="N", min=1, help="Steps between two saved states.")]
LogEvery = Annotated[int, typer.Option("--log-every", metavar="N", min=1, help="Steps that a log line sums up.")]
SampleEvery = Annotated[int, typer.Option("--sample-every", metavar="N", min=1, help="Steps between two pictures.")]
ValidateEvery = Annotated[
    int,
    typer.Option(
        "--validate-every", metavar="N", min=0, help="Steps between two measurements on held-out videos; 0: none."
    ),
]


REPEATED = "workers save_every log_every sample_every validate_every micro_clips teacher_cache".split()
"""Options of a run that the line which goes on with it repeats, where they are not at their defaults."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(train)


def train(
    recipe: RecipeName,
    out: Out,
    data: Data = None,
    resume: Resume = False,
    workers: Workers = RunOptions.workers,
    threads: Threads = None,
    device: Device = "auto",
    micro_clips: MicroClips = None,
    teacher_cache: TeacherCache = None,
    stop_after: StopAfter = None,
    save_every: SaveEvery = RunOptions.save_every,
    log_every: LogEvery = RunOptions.log_every,
    sample_every: SampleEvery = RunOptions.sample_every,
    validate_every: ValidateEvery = RunOptions.validate_every,
) -> None:
    """Train a student from a recipe.

    DIR gets student.safetensors (the averaged weights, float16), state.safetensors (to resume from), log.jsonl,
    tensorboard/ and learning_curve.svg where those packages are installed, and samples/ with pictures of batches
    (white: the true outline, green: the predicted mask). With --validate-every, the videos that the recipe holds out
    are tracked at 256 pixels, and the student with the best J so far is kept as best.safetensors.

    Ctrl-C ends the run after the current step, saves and exits with 130; a second one breaks off, and the state that
    was saved last stays. A run that was resumed gives the same bits as one that was not, on one machine and with the
    same --threads; the other options change nothing of the result.

    Several GPUs or machines: torchrun --nproc-per-node 4 -m sam2lite_mobile.cli.main train ... Each process takes its
    share of every batch, so the result does not depend on their number, up to rounding. A recipe whose data is
    `synthetic` needs no data folder: it draws its own into DIR-data.
    """
    with missing_extra_explained():
        import torch

        from sam2lite_mobile.cli.train_progress import TrainProgress
        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training import loop
        from sam2lite_mobile.training.processes import computes_bfloat16, open_processes
        from sam2lite_mobile.training.recipe import load_recipe
        from sam2lite_mobile.training.synthetic import write_synthetic_data

    chosen = load_recipe(recipe)
    if threads is not None:
        torch.set_num_threads(threads)
    processes = open_processes(device)
    if chosen.precision == "bf16" and processes.leads and not computes_bfloat16(processes.device):
        typer.echo("this processor gains nothing by bfloat16: training in float32", err=True)
    synthetic = chosen.data == "synthetic"
    options = RunOptions(
        out=out,
        data_root=out.with_name(f"{out.name}-data") if synthetic else training_data(data),
        workers=workers,
        save_every=save_every,
        log_every=log_every,
        sample_every=sample_every,
        validate_every=validate_every,
        micro_clips=micro_clips,
        teacher_cache=teacher_cache,
        resume=resume,
        stop_after=stop_after,
    )
    if synthetic and processes.leads:
        write_synthetic_data(options.data_root)
    processes.wait_for_all()
    with stop_on_interrupt() as stop, TrainProgress(chosen.name, steps=chosen.steps, quiet=not processes.leads) as bar:
        result = loop.train(chosen, options, processes=processes, stop=lambda: stop.requested, on_step=bar.show)
    if processes.leads:
        typer.echo(f"{result.steps} of {chosen.steps} steps: {result.checkpoint}")
    if processes.leads and result.steps < chosen.steps:
        typer.echo(f"go on with: {resume_line(recipe, options, data=data, threads=threads)}")
    if stop.requested:
        raise typer.Exit(INTERRUPTED)


def resume_line(recipe: str, options: RunOptions, *, data: Path | None, threads: int | None) -> str:
    """The command that goes on with a run, without the options that are at their defaults."""
    words = ["sam2lite", "train", "--recipe", recipe, "--out", str(options.out)]
    if data is not None:
        words += ["--data", str(data)]
    if threads is not None:
        words += ["--threads", str(threads)]
    for name in REPEATED:
        value = getattr(options, name)
        if value != getattr(RunOptions, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--resume"])


@contextmanager
def missing_extra_explained() -> Iterator[None]:
    """Turn a failed import of another package into a MissingBackendError with the install line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("sam2lite_mobile"):
            raise  # a broken installation of this package, not a missing one
        raise MissingBackendError(
            explain(
                "training",
                expected=f"the package {error.name}",
                got="none",
                do="pip install 'sam2lite-mobile[train]'",
            )
        ) from error
