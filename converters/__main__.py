"""`python -m converters TARGET`: build a package for phones from a checkpoint."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from converters.options import BuildOptions, Reporter
from converters.registry import TARGETS, open_target
from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, Sam2LiteError, explain
from sam2lite_mobile.quantization.recipe_names import RECIPES

StudentName = Annotated[str, typer.Option("--student", help="Shipped student to build when no checkpoint is given.")]
Checkpoint = Annotated[Path | None, typer.Option(help="A checkpoint of your own (safetensors).")]
Recipe = Annotated[str, typer.Option(help=f"Precision: {', '.join(RECIPES)}, as far as the target has it.")]
Out = Annotated[Path, typer.Option(help="Folder of the package; replaced in one step.")]
Sizes = Annotated[str, typer.Option(help="Input sizes in pixels, comma-separated.")]
BankTokens = Annotated[int, typer.Option(help="Memory bank budget, 128 to 512.")]
GateFrames = Annotated[int, typer.Option(help="Frames of a chained clip, at least 24.")]
AccuracyFrames = Annotated[
    int | None, typer.Option(help="Frames of each sequence that J&F is measured on, at least 24; all if left out.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes that convert at the same time.")]
Force = Annotated[bool, typer.Option(help="Build even if the package is up to date.")]

ALL_SIZES = ",".join(map(str, contract.SIZES))

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def converters() -> None:
    """Turn a student into packages for phones; every file is executed and compared before it is written."""


def _register(name: str) -> None:
    """Add the command of a target; all of them have the same options."""
    entry = TARGETS[name]

    @app.command(name, help=f"Build {entry.help}.")
    def command(
        student: StudentName = "nano",
        checkpoint: Checkpoint = None,
        recipe: Recipe = entry.recipe,
        out: Out = Path(entry.out),
        sizes: Sizes = ALL_SIZES,
        bank_tokens: BankTokens = contract.BANK_TOKENS,
        gate_frames: GateFrames = 24,
        accuracy_frames: AccuracyFrames = None,
        workers: Workers = 2,
        force: Force = False,
    ) -> None:
        from converters.build import build
        from sam2lite_mobile.engines.torch_engine import default_checkpoint

        chosen = checkpoint or default_checkpoint(student)
        options = BuildOptions(
            checkpoint=chosen.resolve(),
            out=out.resolve(),
            recipe=recipe,
            sizes=_parse_sizes(sizes),
            bank_tokens=bank_tokens,
            gate_frames=gate_frames,
            accuracy_frames=accuracy_frames,
            workers=workers,
            force=force,
        )
        console = Console()
        started = time.monotonic()
        with console.status("starting") as status:
            reporter = Reporter(
                note=lambda message: console.print(f"  {message}", highlight=False),
                stage=lambda message: status.update(f"{message} ..."),
            )
            folder = build(open_target(name), options, reporter)
        console.print(f"[bold green]done[/] {folder} in {time.monotonic() - started:.0f} s")


@app.command()
def calibrate(
    checkpoint: Checkpoint = None,
    student: StudentName = "nano",
    data: Annotated[
        Path | None, typer.Option(help="Folder with train/; SAM2LITE_DATA or ../shared/data if left out.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Real frames, at least 128.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Decides which frames.")] = 0,
) -> None:
    """Measure the ranges of activations on training sequences, for packages with 8-bit activations."""
    from converters.calibration import calibrate as write_calibration
    from sam2lite_mobile.engines.torch_engine import default_checkpoint
    from sam2lite_mobile.evaluation.datasets import training_data

    chosen = (checkpoint or default_checkpoint(student)).resolve()
    console = Console()
    with console.status("starting") as status:
        reporter = Reporter(stage=lambda message: status.update(f"{message} ..."))
        path = write_calibration(chosen, training_data(data), frames=frames, seed=seed, reporter=reporter)
    console.print(f"[bold green]done[/] {path}")


@app.command("policy-table")
def policy_table(
    checkpoint: Checkpoint = None,
    student: StudentName = "nano",
    recipes: Annotated[str, typer.Option(help="Precision recipes, comma-separated.")] = "w8a8,w8,p6",
    size: Annotated[int, typer.Option(help="Input size in pixels.")] = 256,
    out: Annotated[Path, typer.Option(help="Markdown file.")] = Path("docs/precision_by_target.md"),
) -> None:
    """Convert the student for every target, read the files back, and write what became of each line of the policy."""
    from converters.policy_table import write_policy_table
    from sam2lite_mobile.engines.torch_engine import default_checkpoint

    chosen = (checkpoint or default_checkpoint(student)).resolve()
    console = Console()
    with console.status("starting") as status:
        reporter = Reporter(
            note=lambda message: console.print(f"  {message}", highlight=False),
            stage=lambda message: status.update(f"{message} ..."),
        )
        write_policy_table(
            out.resolve(), chosen, targets=tuple(TARGETS), recipes=recipes.split(","), size=size, reporter=reporter
        )
    console.print(f"[bold green]done[/] {out}")


for _name in TARGETS:
    _register(_name)


def _parse_sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ContractError(
            explain("sizes", expected="integers, comma-separated", got=text, do="e.g. --sizes 256,512")
        ) from error


def main() -> None:
    """Run the command line; a user's mistake or a missed gate is one line and an exit status, never a traceback."""
    try:
        app()
    except Sam2LiteError as error:
        Console(stderr=True).print(f"[bold red]error[/] {error}", highlight=False)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
