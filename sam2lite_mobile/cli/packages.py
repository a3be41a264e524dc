"""`sam2lite packages`: several packages side by side, as their gates measured them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Package folders, in the order of the rows.", show_default=False)
]
Markdown = Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as a page too.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("packages")(packages)


def packages(folders: Folders, markdown: Markdown = None) -> None:
    """Show packages side by side: size, decibels, worst frames and J&F, as their gates measured them.

    Each one is verified first; one that does not verify ends the command with exit status 2 and no page.
    """
    from rich.console import Console

    from sam2lite_mobile.cli.bench_table import rich_table
    from sam2lite_mobile.media.atomic_file import replace_file
    from sam2lite_mobile.package.overview import overview_page, overview_tables, package_figures

    console = Console()
    with console.status("verifying") as status:
        figures = []
        for folder in folders:
            status.update(f"verifying {folder}")
            figures.append(package_figures(folder))
    for table in overview_tables(figures):
        console.print(rich_table(table))
    if markdown is not None:
        replace_file(markdown, overview_page(figures).encode())
        console.print(f"wrote {markdown}", highlight=False, markup=False)
