"""`sam2lite`: picks the command, and turns the package's errors into one line and an exit status.

Only the module of the command that was named is imported, so `sam2lite --help` costs nothing but typer. A new command
is one line in COMMANDS and a module with `register(app)`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sam2lite_mobile import __version__
from sam2lite_mobile.errors import Sam2LiteError

COMMANDS: dict[str, str] = {
    "track": "Track objects through a video, a folder of pictures or a camera.",
    "eval": "Measure J and F on sequences in DAVIS layout.",
    "join": "Make one result of the parts of an evaluation in several processes.",
    "compare": "Compare two evaluations sequence by sequence, with an interval for their difference.",
    "report": "Write results of eval, bench, ablate and track as one HTML page.",
    "bench": "Time a frame of students and packages, stage by stage, beside EdgeTAM's.",
    "failures": "Known failures: a suite of videos that show one each, and how a tracker does on it.",
    "adaptive": "Adaptive inference: a device's latencies, sweeps of the scheduler, and its work under real load.",
    "train": "Train a student from a recipe.",
    "average": "Write the mean of several checkpoints.",
    "teach": "Ask a teacher about the clips of a recipe ahead of training.",
    "bench-train": "Measure what training costs: speed, waiting for data and memory of each phase.",
    "ablate": "Measure what each part of training, or each choice at inference, is worth.",
    "sensitivity": "Rank the layers of a student by what 8-bit integers in them alone cost.",
    "data": "Pack training data into shards, or look at the clips that are made of it.",
    "packages": "Show packages side by side: size, decibels, worst frames and J&F, as their gates measured them.",
    "verify": "Check a package: files, hashes, tensors, constants and gates. Exit status 1 if anything is wrong.",
}
"""Commands and the first line of their help; `module_of` says where each one lives."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status of one call: 0, or what the error says (2 wrong call or bad input, 1 missed gate).

    arguments: without the program's name; None: those of the process. Help, usage errors and interrupts leave
    through SystemExit.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build_app(given)(args=given, prog_name="sam2lite")
    except Sam2LiteError as error:
        typer.secho(f"sam2lite: {_one_line(error)}", fg=typer.colors.RED, err=True)
        return error.exit_status
    return 0


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The application for these arguments: the named command in full, the others as a name and a line of help."""
    app = typer.Typer(
        name="sam2lite",
        help="Promptable video object segmentation: track, measure, build and verify.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_options)
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == named:
            importlib.import_module(module_of(name)).register(app)
        else:
            app.command(name, help=summary)(_unnamed)
    return app


def module_of(command: str) -> str:
    """The module with `register(app)` of a command: its name, with underscores."""
    return f"sam2lite_mobile.cli.{command.replace('-', '_')}"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sam2lite-mobile {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the program itself; each acts in its callback."""


def _unnamed() -> None:
    """Stand in for a command that this call does not name; never run."""


def _one_line(error: Sam2LiteError) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
