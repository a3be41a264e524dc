"""`sam2lite join`: one result of the parts that `sam2lite eval --shards` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.errors import DataError, explain

PART_SUFFIX = ".shard-*-of-*"

Result = Annotated[Path, typer.Argument(metavar="FILE", help="Where the result goes: the --json of the evaluation.")]
Parts = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PART]...", help="The parts; all FILE.shard-I-of-N beside FILE if left out."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("join")(join)


def join(result: Result, parts: Parts = None) -> None:
    """Make one result of the parts of an evaluation in several processes.

    The parts must have the same conditions, and every sequence once. The result is the one of a single process but for
    times. The parts stay where they are.
    """
    from sam2lite_mobile.cli.eval_table import print_result
    from sam2lite_mobile.evaluation import shards
    from sam2lite_mobile.evaluation.results import read_result, write_result

    if not result.parent.is_dir() or result.is_dir():
        raise DataError(
            explain(f"result {result}", expected="a file in an existing folder", got="none", do="create the folder")
        )
    paths = parts or sorted(
        path for path in result.parent.glob(f"{result.name}{PART_SUFFIX}") if path.suffix != ".partial"
    )
    if not paths:
        raise DataError(
            explain(f"parts of {result}", expected=f"{result.name}{PART_SUFFIX}", got="none", do="run eval --shards")
        )
    joined = shards.join([read_result(path) for path in paths], names=[path.name for path in paths])
    write_result(result, joined)
    print_result(joined)
