"""`sam2lite report`: result files as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[
    list[Path],
    typer.Argument(metavar="RESULT...", help="JSON files of eval, bench or ablate, and folders of track."),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The page, one HTML file.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="ROOT", help="Frames and annotations of the evaluations, to show pictures."),
]
Masks = Annotated[
    list[Path] | None,
    typer.Option("--masks", metavar="DIR", help="What eval --save-masks wrote; once an evaluation, in their order."),
]
Frames = Annotated[int, typer.Option("--frames", metavar="N", min=2, max=2000, help="Pictures of a sequence at most.")]
Title = Annotated[str, typer.Option("--title", metavar="TEXT", help="The heading of the page.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report")(report)


def report(
    results: Results,
    out: Out,
    data: Data = None,
    masks: Masks = None,
    frames: Frames = 100,
    title: Title = "SAM2-Lite mobile: results",
) -> None:
    """Write results of eval, bench, ablate and track as one HTML page.

    The page needs nothing else: it works offline, by keyboard, in the dark and on paper.

    Evaluations are put side by side: scores by sequence, the change from the first one of the same frames with its
    95 % interval, stability, time by stage, and J&F of every frame. With --data the frames are shown, worst first,
    with the annotation's outline; with --masks also those of the results. What `eval --memory-cells` or
    `track --memory-cells` recorded is shown on the frames that the memory's tokens come from.

    A folder of `sam2lite track` brings its overlay video, time, size and window by frame. Charts have every frame;
    pictures are at most N of a sequence, the worst ones among them.
    """
    from sam2lite_mobile.evaluation.report.inputs import read_inputs
    from sam2lite_mobile.evaluation.report.page import build_page, page_html, write_page

    inputs = read_inputs(results, masks=masks or ())
    size = write_page(out, page_html(build_page(inputs, title=title, data=data, frames_max=frames)))
    typer.echo(f"{out}: {size / 1e6:.1f} MB, from {len(results)} result{'' if len(results) == 1 else 's'}")
