"""`sam2lite verify FOLDER`: is this package whole, unchanged, understood, and did it pass its gates?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sam2lite_mobile.package.report import VerifyReport


def verify(
    folder: Annotated[
        Path, typer.Argument(help="Folder with manifest.json, for example dist/ios.", show_default=False)
    ],
) -> None:
    """Check a package: files, hashes, tensors, constants and gates. Exit status 1 if anything is wrong."""
    from rich.console import Console

    from sam2lite_mobile.package.verify import verify_package

    report = verify_package(folder)
    _show(report, Console())
    if not report.passed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("verify")(verify)


def _show(report: VerifyReport, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{report.folder}"))
    for heading in ("checks", "passed", "result"):
        table.add_column(heading)
    for group, (count, made) in report.groups().items():
        good = count == made
        table.add_row(
            group, f"{count} of {made}", Text("ok" if good else "FAILED", style="green" if good else "bold red")
        )
    console.print(table)
    for check in report.failures:
        # Text, not markup: the package's own strings must not style the terminal.
        console.print(Text(check.what, style="bold red"))
        for label, value in (("expected", check.expected), ("got", check.got), ("do", check.do)):
            console.print(Text(f"  {label:<9}{value}"), soft_wrap=True)
    if report.passed:
        console.print(Text("The package is whole, unchanged since its build, and passed its gates.", style="green"))
    for note in report.notes:
        console.print(Text(note, style="bold yellow"))
