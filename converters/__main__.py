"""`python -m converters TARGET`: build a package for phones from a checkpoint."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from converters.options import RECIPES, BuildOptions, Reporter
from converters.registry import TARGETS, builder
from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, Sam2LiteError, explain

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def converters() -> None:
    """Turn a student into packages for phones; every file is executed and compared before it is written."""


@app.command(help=f"Build {TARGETS['coreml'].help}.")
def coreml(
    student: Annotated[str, typer.Option(help="Shipped student to build when no checkpoint is given.")] = "nano",
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint of your own (safetensors).")] = None,
    recipe: Annotated[str, typer.Option(help=f"Precision: {' or '.join(RECIPES)}.")] = "fp16",
    out: Annotated[Path, typer.Option(help="Folder of the package; replaced in one step.")] = Path("dist/ios"),
    sizes: Annotated[str, typer.Option(help="Input sizes in pixels, comma-separated.")] = ",".join(
        map(str, contract.SIZES)
    ),
    bank_tokens: Annotated[int, typer.Option(help="Memory bank budget, 128 to 512.")] = contract.BANK_TOKENS,
    gate_frames: Annotated[int, typer.Option(help="Frames of a chained clip, at least 24.")] = 24,
    accuracy_frames: Annotated[
        int | None, typer.Option(help="Frames of each sequence that J&F is measured on, at least 24; all if left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that convert at the same time.")] = 2,
    force: Annotated[bool, typer.Option(help="Build even if the package is up to date.")] = False,
) -> None:
    """Build the Core ML package."""
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
        target = builder("coreml")(options, reporter)
    console.print(f"[bold green]done[/] {target} in {time.monotonic() - started:.0f} s")


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
