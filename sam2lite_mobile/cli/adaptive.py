"""`sam2lite adaptive`: a device's latency table, and how the scheduler does on a simulated and on a loaded device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.engine_options import (
    Checkpoint,
    EngineName,
    OpenEngine,
    Package,
    Size,
    TargetFps,
    Threads,
    open_engine,
)
from sam2lite_mobile.cli.eval import Data, MaxFrames, Prompts, Sequences, Split
from sam2lite_mobile.contract import FULL_SIZE, WINDOW_MAX
from sam2lite_mobile.errors import ContractError, GateError, explain

SHIPPED_TABLE = Path(__file__).parents[2] / "docs" / "latency_nano_torch.json"
SUMMARY = "Adaptive inference: a device's latencies, sweeps of the scheduler, and its work under real load."

TableOut = Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the table goes.")]
Frames = Annotated[int, typer.Option("--frames", metavar="N", min=1, help="Frames of each size and window.")]
Objects = Annotated[int, typer.Option("--objects", metavar="N", min=1, max=16, help="Objects in every frame.")]

TableIn = Annotated[
    Path | None,
    typer.Option("--table", metavar="FILE", help="From `sam2lite adaptive table`; the shipped one if left out."),
]
SweepOut = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where all figures go.")]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Markdown page; its pictures go beside it.")
]
LoadOut = Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the result goes.")]
Processes = Annotated[
    int | None, typer.Option("--processes", metavar="N", min=1, max=256, help="Of load; one a processor if left out.")
]
QuietFrames = Annotated[int, typer.Option("--quiet-frames", metavar="N", min=1, help="Frames without load, in turn.")]
LoadedFrames = Annotated[int, typer.Option("--loaded-frames", metavar="N", min=1, help="Frames with load, in turn.")]
Check = Annotated[bool, typer.Option("--check", help="Exit status 1 if a goal is missed.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(no_args_is_help=True, help=SUMMARY)
    group.command("table")(table)
    group.command("sweep")(sweep)
    group.command("load")(load)
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


def sweep(table: TableIn = None, result: SweepOut = None, report: Report = None) -> None:
    """Sweep the scheduler's gains and parts on a simulated device, into a page with pictures.

    The device has the latencies of a table, by default the shipped one (Nano on torch). Nothing here is timed, so the
    same table gives the same result on any machine.
    """
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.adaptive.latency_table import read_table
    from sam2lite_mobile.evaluation.adaptive.sweep import best, given, runs_of_a_sweep, write_sweep
    from sam2lite_mobile.evaluation.adaptive.sweep import sweep as run_sweep
    from sam2lite_mobile.evaluation.adaptive.sweep_report import write_sweep_report
    from sam2lite_mobile.evaluation.bench.sweep_plot import check_plotting

    for option, path in (("--json", result), ("--report", report)):
        if path is not None and not path.resolve().parent.is_dir():
            raise ContractError(explain(option, expected="a file in an existing folder", got=path, do="create it"))
    if report is not None:
        check_plotting()  # now, not after a minute
    device = read_table(SHIPPED_TABLE if table is None else table)
    with frame_progress() as progress:
        task = progress.add_task("sweeping", total=runs_of_a_sweep())
        finished = run_sweep(device, on_score=lambda: progress.advance(task))
    if result is not None:
        write_sweep(result, finished)
    if report is not None:
        write_sweep_report(report, finished, device)
    for name, figures in (("gains as they are", given(finished)), ("quickest", best(finished).score)):
        typer.echo(
            f"{name}: settled after {figures.settling_mean:.1f} frames (worst {figures.settling_worst}), "
            f"{figures.changes:.2f} changes per 100 frames, {figures.on_target:.1%} on target"
        )


def load(
    data: Data,
    result: LoadOut,
    split: Split = "all",
    engine: EngineName = "torch",
    checkpoint: Checkpoint = None,
    package: Package = None,
    size: Size = FULL_SIZE,
    threads: Threads = 1,
    prompt: Prompts = "mask",
    sequences: Sequences = None,
    max_frames: MaxFrames = None,
    target_fps: TargetFps = None,
    processes: Processes = None,
    quiet_frames: QuietFrames = 15,
    loaded_frames: LoadedFrames = 30,
    check: Check = False,
) -> None:
    """Track sequences under real load with the fixed size and with the scheduler: rate, J&F, share on target.

    Processes that only compute come and go beside the tracker, frame by frame the same on both sides. Without
    --target-fps the target is 1.35 times the rate of the fixed size under load, in the first sequence.

    Goals: under load 1.28 times the rate of the fixed size (methodology: 31.2 over 24.3), 1.0 points of J&F lost at
    most, 95 % of the settled frames within 10 % of the target time.
    """
    import os

    from sam2lite_mobile import __version__
    from sam2lite_mobile.cli.adaptive_table import goals, print_under_load
    from sam2lite_mobile.cli.engine_options import check_target_fps
    from sam2lite_mobile.cli.eval import prompt_kind, subset
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.adaptive.load_generator import Pulses
    from sam2lite_mobile.evaluation.adaptive.under_load import LoadPlan, run_under_load, write_under_load
    from sam2lite_mobile.evaluation.conditions import Conditions, engine_info, this_machine
    from sam2lite_mobile.evaluation.datasets import DavisLayout
    from sam2lite_mobile.evaluation.selection import Selection

    kind = prompt_kind(prompt)
    if target_fps is not None:
        check_target_fps(target_fps, window=WINDOW_MAX)
    layout = DavisLayout(data)
    names = layout.split(split)
    split_name = split if split == "all" else Path(split).stem
    if sequences is not None:
        names = subset(names, sequences, split=split)
        split_name = f"part of {split_name}"
    ready = open_engine(
        engine,
        checkpoint=checkpoint,
        package=package,
        threads=threads,
        size=size,
        window=WINDOW_MAX,
        all_sizes=True,
    )
    plan = LoadPlan(
        sequences=names,
        size=size,
        window=WINDOW_MAX,
        prompt=kind,
        target_fps=target_fps,
        processes=processes or os.cpu_count() or 1,
        pulses=Pulses(quiet_frames, loaded_frames),
        max_frames=max_frames,
    )
    conditions = Conditions(
        package_version=__version__,
        data=data.resolve().name,
        split=split_name,
        sequences=list(names),
        prompt=kind,
        size=size,
        window=WINDOW_MAX,
        budget=ready.engine.bank_tokens,
        selection=Selection.GATE,
        selection_seed=None,
        max_frames=max_frames,
        engine=engine_info(ready.engine.describe(), ready.checkpoint_sha256),
        machine=this_machine(),
    )
    with frame_progress() as progress:
        task = progress.add_task("loading", total=None)
        finished = run_under_load(
            ready.engine,
            layout,
            plan,
            conditions,
            on_frame=lambda side, done, total: progress.update(task, description=side, completed=done, total=total),
        )
    write_under_load(result, finished)
    print_under_load(finished)
    missed = [goal for goal in goals(finished) if not goal.held]
    if check and missed:
        first = missed[0]
        raise GateError(explain(first.what, expected=first.limit, got=first.measured, do="measure on a quiet machine"))


def _engine(engine: str, *, checkpoint: Path | None, package: Path | None, threads: int) -> OpenEngine:
    return open_engine(
        engine, checkpoint=checkpoint, package=package, threads=threads, size=FULL_SIZE, window=WINDOW_MAX
    )
