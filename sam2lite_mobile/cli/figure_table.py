"""The look of a table of figures: names on the left, numbers flush right, no line broken."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def figure_table(title: str, *columns: str) -> Table:
    """An empty table; the first column holds names, the others numbers."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table
