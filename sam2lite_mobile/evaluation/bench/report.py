"""A benchmark's result as a Markdown page: goals, tables, plots and conditions, ready to be committed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sam2lite_mobile.evaluation.bench.results import BenchResult
from sam2lite_mobile.evaluation.bench.sweep_plot import write_sweep_plots
from sam2lite_mobile.evaluation.bench.tables import AXIS_WORDS, TextTable, bench_tables, conditions_lines
from sam2lite_mobile.media.atomic_file import replace_file

TITLE = "# Benchmark"


def write_report(path: Path, result: BenchResult) -> list[Path]:
    """Write the page, and the plots of its sweeps beside it as `<stem>_<axis>.svg`; the paths of all, the page first.

    Raises MissingBackendError where there are sweeps and no matplotlib, DataError where a file cannot be written.
    """
    plots = write_sweep_plots(result.sweeps, path.parent, prefix=path.stem)
    replace_file(path, report_text(result, [plot.name for plot in plots]).encode())
    return [path, *plots]


def report_text(result: BenchResult, plots: Sequence[str]) -> str:
    """The page as text. plots: names of the picture files of the result's sweeps, in their order."""
    lines = [TITLE, ""]
    missed = [each for each in result.verdicts if not each.held]
    if result.verdicts:
        held = len(result.verdicts) - len(missed)
        lines += [f"Written by `sam2lite bench`: {held} of {len(result.verdicts)} limits held.", ""]
    else:
        lines += ["Written by `sam2lite bench`; no limit is stated for what ran.", ""]
    for table in bench_tables(result):
        lines += [f"## {table.title[0].upper()}{table.title[1:]}", "", *markdown_table(table), ""]
    for sweep, plot in zip(result.sweeps, plots, strict=True):
        lines += [f"![Median ms a frame against {AXIS_WORDS[sweep.axis]}]({plot})", ""]
    lines += ["## Conditions", ""]
    lines += [f"- {_escaped(line)}" for line in conditions_lines(result)]
    if result.notes:
        lines += ["", "## Notes", "", *(f"- {_escaped(note)}" for note in result.notes)]
    return "\n".join(lines) + "\n"


def markdown_table(table: TextTable) -> list[str]:
    """A table in GitHub's Markdown: names flush left, figures flush right."""
    marks = ["---" if index < table.names else "---:" for index in range(len(table.columns))]
    rows = (_row([_escaped(cell) for cell in row]) for row in (table.columns, *table.rows))
    head, *body = rows
    return [head, _row(marks, pad=""), *body]


def _row(cells: Sequence[str], *, pad: str = " ") -> str:
    return "|" + "|".join(f"{pad}{cell}{pad}" for cell in cells) + "|"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
