"""`sam2lite adaptive`: a device's latency table, and how the scheduler does on a simulated and on a loaded device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.engine_options import Checkpoint, EngineName, OpenEngine, Package, Threads, open_engine
from sam2lite_mobile.contract import FULL_SIZE, WINDOW_MAX

SUMMARY = "Adaptive inference: a device's latencies, sweeps of the scheduler, and its work under real load."

TableOut = Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the table goes.")]
Frames = Annotated[int, typer.Option("--frames", metavar="N", min=1, help="Frames of each size and window.")]
Objects = Annotated[int, typer.Option("--objects", metavar="N", min=1, max=16, help="Objects in every frame.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(no_args_is_help=True, help=SUMMARY)
    group.command("table")(table)
    app.add_typer(group, name="adaptive")


def table(
    result: TableOut,
    engine: EngineName = "torch",
    checkpoint: Checkpoint = None,
    package: Package = None,
    threads: Threads = 1,
    frames: Frames = 15,
    objects: Objects = 1,
) -> None:
    """Measure what a frame takes at every size that the engine has, stage by stage.

    Times are the processor's, so that a busy machine matters little; that is right for one thread only.
    """
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.adaptive.latency_table import write_table
    from sam2lite_mobile.evaluation.adaptive.table_measuring import WINDOWS, measure_table

    ready = _engine(engine, checkpoint=checkpoint, package=package, threads=threads)
    with frame_progress() as progress:
        task = progress.add_task("measuring", total=frames * len(ready.engine.sizes) * len(WINDOWS))
        measured = measure_table(
            ready.engine,
            checkpoint_sha256=ready.checkpoint_sha256,
            frames=frames,
            objects=objects,
            on_frame=lambda: progress.advance(task),
        )
    write_table(result, measured)
    for row in measured.rows:
        typer.echo(f"{row.size} px, window {row.window}: {row.total_ms:.1f} ms (wall clock {row.wall_ms:.1f})")


def _engine(engine: str, *, checkpoint: Path | None, package: Path | None, threads: int) -> OpenEngine:
    return open_engine(
        engine, checkpoint=checkpoint, package=package, threads=threads, size=FULL_SIZE, window=WINDOW_MAX
    )
