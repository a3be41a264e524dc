"""`sam2lite track`: prompts in, masks, an overlay video and JSON lines out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sam2lite_mobile.cli.engine_options import (
    Checkpoint,
    EngineName,
    Package,
    Size,
    TargetFps,
    Threads,
    Window,
    open_engine,
)
from sam2lite_mobile.cli.interrupt import INTERRUPTED
from sam2lite_mobile.cli.prompt_options import check_reachable, expand_groups, parse_prompts
from sam2lite_mobile.cli.remedy_options import Fine, MinQuality
from sam2lite_mobile.contract import FULL_SIZE, WINDOW_MAX

if TYPE_CHECKING:
    from sam2lite_mobile.cli.track_summary import TrackSummary

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A video, a folder of JPEG or PNG pictures, or a camera's number.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="New or empty folder for the results.")]
Boxes = Annotated[
    list[str] | None, typer.Option("--box", metavar="x0,y0,x1,y1", help="Left, top, right and bottom edge.")
]
Points = Annotated[
    list[str] | None,
    typer.Option("--point", metavar="x,y[,label]", help="Label 1: on the object (the default); 0: beside it."),
]
Masks = Annotated[
    list[str] | None,
    typer.Option("--mask", metavar="PNG", help="Mask of the frame's size; each id in it is an object."),
]
ObjectIds = Annotated[
    list[int] | None, typer.Option("--object", metavar="N", help="The prompts after it are for object N, 1 to 255.")
]
AtFrames = Annotated[
    list[int] | None, typer.Option("--at", metavar="FRAME", help="The prompts after it are for this frame.")
]
StartFrame = Annotated[int, typer.Option("--start-frame", metavar="N", min=0, help="First frame that is read.")]
MaxFrames = Annotated[int | None, typer.Option("--max-frames", metavar="N", min=1, help="Frames to read at most.")]
MemoryCells = Annotated[
    bool, typer.Option("--memory-cells", help="Also record which cells of which frames the memory holds.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run's results in DIR.")]


class GroupedPromptsCommand(TyperCommand):
    """Applies --object and --at to the prompts after them before the arguments are parsed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Arguments that are left, as in typer."""
        return super().parse_args(ctx, expand_groups(args))


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("track", cls=GroupedPromptsCommand)(track)


def track(
    source: Source,
    out: Out,
    box: Boxes = None,
    point: Points = None,
    mask: Masks = None,
    object_id: ObjectIds = None,
    at: AtFrames = None,
    engine: EngineName = "torch",
    checkpoint: Checkpoint = None,
    package: Package = None,
    size: Size = FULL_SIZE,
    window: Window = WINDOW_MAX,
    threads: Threads = 1,
    target_fps: TargetFps = None,
    min_quality: MinQuality = 0.0,
    fine: Fine = False,
    start_frame: StartFrame = 0,
    max_frames: MaxFrames = None,
    memory_cells: MemoryCells = False,
    overwrite: Overwrite = False,
) -> None:
    """Track objects through a video, a folder of pictures or a camera.

    Prompts are in pixels of the upright frame. Points and a box for one object make one prompt. A box or point that
    says nothing else is for object 1 in the first frame that is read.

    Several objects: --object 1 --box 10,20,90,80 --object 2 --point 200,50 --point 220,90,0. The same, said in the
    prompts: --box 1:10,20,90,80 --point 2:200,50 --point 2:220,90,0.

    Later frames, for corrections and new objects: --at 40 --point 88,61, or --point 88,61@40. Frames count from 0 in
    the source. Each --object goes back to the first frame.

    With --target-fps, sizes from the smallest that the engine has up to --size, and windows, follow what a frame takes
    (a tracker's step, without reading and writing files); all of them are loaded before the first frame. Frames with
    prompts have the largest. frames.jsonl then says why each frame has its size.

    With --min-quality an object that is hidden has no mask, and is searched for in the whole frame after a while. With
    --fine the frame is cropped to where the objects are while they are tiny: finer masks for the same encoding.

    DIR gets masks/FRAME.png (palette PNG in DAVIS layout, pixel = object id), overlay.mp4, frames.jsonl (one line a
    frame) and summary.json. Ctrl-C ends the run after the current frame, keeps what is finished and exits with 130.
    """
    from sam2lite_mobile.cli.engine_options import check_target_fps
    from sam2lite_mobile.cli.track_run import run_tracking
    from sam2lite_mobile.evaluation.remedies import Remedies
    from sam2lite_mobile.media.frames import FrameRange
    from sam2lite_mobile.media.output_folder import staged_folder
    from sam2lite_mobile.media.recording import RUN_FILES
    from sam2lite_mobile.media.source import open_source

    if target_fps is not None:
        check_target_fps(target_fps, window=window)
    schedule = parse_prompts(box or (), point or (), mask or (), start_frame=start_frame)
    frames = FrameRange(start_frame, max_frames)
    with (
        staged_folder(out, overwrite=overwrite, known_names=RUN_FILES) as folder,
        open_source(source, frames) as opened,
    ):
        expected = max_frames if opened.frame_count is None else len(frames.indices(opened.frame_count))
        check_reachable(schedule, stop=None if expected is None else start_frame + expected)
        ready = open_engine(
            engine,
            checkpoint=checkpoint,
            package=package,
            threads=threads,
            size=size,
            window=window,
            all_sizes=target_fps is not None,
        )
        summary = run_tracking(
            opened,
            schedule,
            ready,
            folder=folder,
            size=size,
            window=window,
            target_fps=target_fps,
            remedies=Remedies(min_quality, fine),
            frames_expected=expected,
            memory_cells=memory_cells,
        )
    _report(summary, out)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)


def _report(summary: TrackSummary, out: Path) -> None:
    """Say what was done; prompts that the video was too short for are a warning."""
    from sam2lite_mobile.cli.track_summary import adaptive_line

    total = summary.latency_ms.get("total")
    size = f"{summary.size} px" if summary.adaptive is None else f"up to {summary.size} px"
    speed = "" if total is None else f", {total.p50:.1f} ms a frame (p50, {summary.engine.name}, {size})"
    state = "interrupted after" if summary.interrupted else "tracked"
    typer.echo(f"{state} {_count(summary.frames, 'frame')}, {_count(len(summary.objects), 'object')}{speed}: {out}")
    if summary.adaptive is not None:
        typer.echo(adaptive_line(summary.adaptive))
    if summary.prompts_not_reached:
        frames = ", ".join(map(str, summary.prompts_not_reached))
        typer.secho(f"prompts not reached: frame {frames}", fg=typer.colors.YELLOW, err=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
