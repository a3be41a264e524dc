"""What --min-quality and --fine ask for: remedies against known failures, the same in every command that tracks."""

from __future__ import annotations

from typing import Annotated

import typer

MinQuality = Annotated[
    float,
    typer.Option(
        "--min-quality",
        metavar="Q",
        min=0.0,
        max=1.0,
        help="Below this predicted IoU an object is out of view until it is found again; 0 takes whatever is found.",
    ),
]
Fine = Annotated[bool, typer.Option("--fine", help="Track tiny objects in a crop of the frame around them.")]
