"""The look of a table of figures: names on the left, numbers flush right; a heading may take several lines."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def figure_table(title: str, *columns: str) -> Table:
    """An empty table; the first column holds names, the others numbers."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        # A column that may wrap is narrowed down to its longest word before any column is cut.
        table.add_column(column, justify="right", min_width=max(map(len, column.split()), default=0))
    return table
