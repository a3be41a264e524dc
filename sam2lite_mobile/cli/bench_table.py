"""The tables at the end of `sam2lite bench`, on the terminal, with what they hold for."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sam2lite_mobile.cli.figure_table import figure_table
from sam2lite_mobile.evaluation.bench.results import BenchResult
from sam2lite_mobile.evaluation.bench.tables import TextTable, bench_tables, conditions_lines


def print_bench(result: BenchResult, console: Console | None = None) -> None:
    """Print a benchmark: one table for each question, then the conditions and the notes."""
    output = console or Console()
    for table in bench_tables(result):
        output.print(rich_table(table))
    for line in (*conditions_lines(result), *(f"note: {note}" for note in result.notes)):
        output.print(line, highlight=False, markup=False)


def rich_table(table: TextTable) -> Table:
    """A table of text for the terminal."""
    found = figure_table(table.title, *table.columns)
    for column in found.columns[1 : table.names]:
        column.justify = "left"
    for row in table.rows:
        found.add_row(*(Text(cell) for cell in row))
    return found
