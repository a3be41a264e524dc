"""`sam2lite compare`: two evaluations of the same sequences side by side, and how sure their difference is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.errors import DataError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.results import EvaluationResult

Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="Result of `sam2lite eval --json`.", show_default=False)]
After = Annotated[Path, typer.Argument(metavar="AFTER", help="Another one, of the same data.", show_default=False)]

SAME = ("data", "split", "sequences", "max_frames", "loop_frames")
"""Conditions that must be equal: scores of other frames have no difference worth the name."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compare")(compare)


def compare(before: Before, after: After) -> None:
    """Compare two evaluations sequence by sequence, with an interval for their difference.

    The interval is a bootstrap over sequences: what the difference might have been with other sequences of the same
    kind. Where it holds 0, the two are not told apart. Prompts, sizes, engines and checkpoints may differ.
    """
    from sam2lite_mobile.evaluation.results import read_result

    first, second = read_result(before), read_result(after)
    for result, path in ((first, before), (second, after)):
        if result.summary is None:
            raise DataError(
                explain(str(path), expected="a finished evaluation", got="a part", do="finish it: --resume")
            )
    for name in SAME:
        values = getattr(first.conditions, name), getattr(second.conditions, name)
        if values[0] != values[1]:
            raise DataError(
                explain(
                    f"{after}: {name}", expected=str(values[0])[:200], got=str(values[1])[:200], do="evaluate alike"
                )
            )
    _show(first, second, names=(before.stem, after.stem))


def _show(first: EvaluationResult, second: EvaluationResult, *, names: tuple[str, str]) -> None:
    from rich.console import Console
    from rich.text import Text

    from sam2lite_mobile.cli.eval_table import conditions_line, table_title
    from sam2lite_mobile.cli.figure_table import figure_table
    from sam2lite_mobile.evaluation.bootstrap import paired_interval

    table = figure_table(f"J&F, {table_title(first.conditions)}", "sequence", *names, "change")
    for a, b in zip(first.sequences, second.sequences, strict=True):
        table.add_row(a.name, *(f"{100 * x:.1f}" for x in (a.jf_mean, b.jf_mean)), _change(b.jf_mean - a.jf_mean))
    interval = paired_interval(first.sequences, second.sequences)
    means = [100 * result.summary.jf_mean for result in (first, second) if result.summary is not None]
    table.add_section()
    table.add_row("all objects", *(f"{mean:.1f}" for mean in means), f"{interval.difference:+.1f}", style="bold")
    console = Console()
    console.print(table)
    verdict = "not told apart from none" if interval.low <= 0 <= interval.high else "told apart from none"
    console.print(Text(f"change {interval}: {verdict}"))
    for name, result in zip(names, (first, second), strict=True):
        line = f"{name}: {result.conditions.prompt} prompt, {conditions_line(result.conditions)}"
        console.print(line, highlight=False, markup=False)


def _change(share: float) -> str:
    return f"{100 * share:+.1f}"
