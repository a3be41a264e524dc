"""`sam2lite average`: the mean of several checkpoints as a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Checkpoints = Annotated[
    list[Path], typer.Argument(metavar="CHECKPOINT...", help="Students of one configuration.", show_default=False)
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where the mean goes (safetensors).", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("average")(average)


def average(checkpoints: Checkpoints, out: Out) -> None:
    """Write the mean of several checkpoints.

    A student that was trained on from another, with other data or input sizes, gains on some videos and loses on
    others; the mean of both often keeps most of the gains. The header holds the hashes of all parts.
    """
    from sam2lite_mobile.student.checkpoint import checkpoint_hash, save_student
    from sam2lite_mobile.training.averaging import averaged_student

    student, facts = averaged_student(checkpoints)
    save_student(student, out, facts=facts)
    typer.echo(f"{out}: the mean of {len(checkpoints)} checkpoints, sha256 {checkpoint_hash(out)}")
