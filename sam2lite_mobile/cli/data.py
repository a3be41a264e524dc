"""`sam2lite data`: packs training data for a trip to another machine, and shows the clips that are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.cli.train import missing_extra_explained
from sam2lite_mobile.errors import ContractError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.training.layouts import Layout
    from sam2lite_mobile.training.pack_index import PackIndex

SUMMARY = "Pack training data into shards, or look at the clips that are made of it."
LISTED_SKIPS = 10
MAX_SHEET_CLIPS = 64

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="ROOT", help="Folder with the data; SAM2LITE_DATA or ../shared/data if left out."),
]
LayoutName = Annotated[
    str, typer.Option("--layout", metavar="NAME", help="auto, ours, davis, youtube-vos or sa-v: how ROOT is arranged.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="New or empty folder for the pack.")]
ShortSide = Annotated[
    int, typer.Option("--short-side", metavar="PX", min=32, max=4096, help="Larger frames are shrunk to this.")
]
Quality = Annotated[
    int, typer.Option("--quality", metavar="Q", min=1, max=100, help="JPEG quality of frames that are shrunk.")
]
MaxMegabytes = Annotated[
    float | None, typer.Option("--max-mb", metavar="N", min=0.1, help="Stop rather than write more (MB = 10^6 bytes).")
]
ShardMegabytes = Annotated[float, typer.Option("--shard-mb", metavar="N", min=0.1, help="Largest shard.")]
HoldOut = Annotated[
    list[str] | None, typer.Option("--hold-out", metavar="NAME", help="Leave this video out; may be repeated.")
]
DataSets = Annotated[
    list[str] | None, typer.Option("--dataset", metavar="NAME", help="Only this data set; may be repeated.")
]
Sheet = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the PNG goes.")]
Clips = Annotated[int, typer.Option("--clips", metavar="N", min=1, max=MAX_SHEET_CLIPS, help="Rows of the sheet.")]
Frames = Annotated[int, typer.Option("--frames", metavar="N", min=2, max=16, help="Frames of a clip.")]
Size = Annotated[int, typer.Option("--size", metavar="PX", min=32, max=1024, help="Side of a frame.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another seed draws other clips.")]
VideoShare = Annotated[
    float, typer.Option("--video-share", metavar="P", min=0.0, max=1.0, help="Share of clips that come from videos.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(no_args_is_help=True, help=SUMMARY)
    group.command("pack")(pack)
    group.command("show")(show)
    app.add_typer(group, name="data")


def pack(
    out: Out,
    data: Data = None,
    layout: LayoutName = "auto",
    short_side: ShortSide = 288,
    quality: Quality = 85,
    max_mb: MaxMegabytes = None,
    shard_mb: ShardMegabytes = 32.0,
    hold_out: HoldOut = None,
    dataset: DataSets = None,
) -> None:
    """Write training data as WebDataset shards that `sam2lite train --data DIR` reads.

    Frames with a short side over PX are shrunk by area and saved as JPEG; their masks keep their ids. The others are
    stored byte for byte. Broken frames, videos and stills are left out, and listed in DIR/pack.json with the reason.
    The same data gives the same bytes.

    A validation sequence of DAVIS-2016 among the data is refused. Ctrl-C, an error or a pack over --max-mb leaves
    nothing behind.
    """
    with missing_extra_explained():
        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training.pack_items import PictureSettings, find_items
        from sam2lite_mobile.training.pack_writer import MEGABYTE, PackLimits, StoppedPackError, write_pack

    from sam2lite_mobile.cli.progress import item_progress

    root = training_data(data)
    pictures = PictureSettings(short_side, quality)
    limits = PackLimits(int(shard_mb * MEGABYTE), None if max_mb is None else int(max_mb * MEGABYTE))
    items, left_out, bare = find_items(
        root, _layout(layout), hold_out=tuple(hold_out or ()), datasets=tuple(dataset or ())
    )
    with stop_on_interrupt() as stop, item_progress() as progress:
        task = progress.add_task("videos and stills", total=len(items))
        try:
            index = write_pack(
                items,
                out,
                data_root=root,
                pictures=pictures,
                limits=limits,
                held_out=left_out,
                skipped=bare,
                on_item=lambda item: progress.advance(task),
                stop=lambda: stop.requested,
            )
        except StoppedPackError:
            typer.echo("stopped; nothing was written", err=True)
            raise typer.Exit(INTERRUPTED) from None
    _tell(index, out)


def show(
    out: Sheet,
    data: Data = None,
    clips: Clips = 8,
    frames: Frames = 4,
    size: Size = 256,
    seed: Seed = 0,
    video_share: VideoShare = 0.5,
) -> None:
    """Draw training clips into a picture: a row for each clip, its object outlined.

    ROOT is a pack or a data folder. What is drawn is what training sees: cut, moved and changed in look.
    """
    with missing_extra_explained():
        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training.clip_settings import ClipSettings
        from sam2lite_mobile.training.clips import ClipSource, contact_sheet
        from sam2lite_mobile.training.contact_sheet import sheet_png

    from sam2lite_mobile.media.atomic_file import replace_file

    settings = ClipSettings(size_px=size, frames=frames, video_share=video_share)
    source = ClipSource(training_data(data), settings, seed=seed)
    replace_file(out, sheet_png(contact_sheet([source.clip(index) for index in range(clips)])))
    for report in source.take_reports():
        typer.echo(report, err=True)
    typer.echo(f"{clips} clips: {out}")


def _layout(name: str) -> Layout | None:
    from sam2lite_mobile.training.layouts import Layout

    if name == "auto":
        return None
    try:
        return Layout(name)
    except ValueError as error:
        expected = f"auto, {', '.join(Layout)}"
        raise ContractError(explain("--layout", expected=expected, got=repr(name), do="name one of these")) from error


def _tell(index: PackIndex, out: Path) -> None:
    """What was written, and what was left out and why."""
    videos = {(sample.dataset, sample.name) for sample in index.samples if sample.kind == "video"}
    stills = sum(sample.kind == "still" for sample in index.samples)
    size = sum(shard.bytes for shard in index.shards) / 1e6
    typer.echo(
        f"{len(videos)} videos and {stills} stills, {index.frame_count} frames, {size:.1f} MB in {len(index.shards)} "
        f"shards: {out}"
    )
    if index.held_out:
        typer.echo(f"left out on purpose: {', '.join(index.held_out)}")
    if index.skipped:
        typer.echo(f"skipped as broken: {len(index.skipped)}")
    for each in index.skipped[:LISTED_SKIPS]:
        frame = "" if each.frame is None else f" frame {each.frame}"
        typer.echo(f"  {each.dataset}/{each.name}{frame}: {each.reason}")
    if len(index.skipped) > LISTED_SKIPS:
        typer.echo(f"  and {len(index.skipped) - LISTED_SKIPS} more, in pack.json")
