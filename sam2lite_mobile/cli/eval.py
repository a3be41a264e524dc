"""`sam2lite eval`: J and F on sequences in DAVIS layout, into a JSON file and a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from sam2lite_mobile.cli.memory_options import Budget, SelectionName, SelectionSeed, bank_tokens, memory_choice
from sam2lite_mobile.cli.remedy_options import Fine, MinQuality
from sam2lite_mobile.contract import FULL_SIZE, WINDOW_MAX
from sam2lite_mobile.errors import ContractError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.conditions import Conditions
    from sam2lite_mobile.evaluation.pacing import Pace
    from sam2lite_mobile.evaluation.prompting import PromptKind
    from sam2lite_mobile.evaluation.shards import Shard

Data = Annotated[Path, typer.Option("--data", metavar="ROOT", help="Folder with JPEGImages/ and Annotations/.")]
Split = Annotated[
    str, typer.Option("--split", metavar="NAME|FILE", help="A list in ROOT/splits or ROOT/ImageSets, a file, or 'all'.")
]
Result = Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the result goes.")]
Prompts = Annotated[str, typer.Option("--prompt", metavar="mask|box|click", help="What is given in the first frame.")]
Sequences = Annotated[str | None, typer.Option("--sequences", metavar="A,B", help="Only these sequences of the split.")]
MaxFrames = Annotated[
    int | None, typer.Option("--max-frames", metavar="N", min=3, help="Cut every sequence after N frames.")
]
Loop = Annotated[
    int | None,
    typer.Option("--loop", metavar="N", min=3, help="Track N frames of every clip, forth and back, such as 5000."),
]
Flicker = Annotated[bool, typer.Option("--flicker/--no-flicker", help="Also measure flicker, by optical flow.")]
MemoryCells = Annotated[
    bool, typer.Option("--memory-cells", help="Also keep which cells of which frames the memory held, frame by frame.")
]
SaveMasks = Annotated[Path | None, typer.Option("--save-masks", metavar="DIR", help="Write DIR/SEQUENCE/FRAME.png.")]
Pictures = Annotated[
    Path | None,
    typer.Option("--pictures", metavar="DIR", help="Write DIR/SEQUENCE.jpg: frames on the way, and the worst one."),
]
SwitchEvery = Annotated[
    int | None,
    typer.Option("--switch-every", metavar="N", min=1, help="Another size after every N frames, down and up again."),
]
Shards = Annotated[
    int | None, typer.Option("--shards", metavar="N", min=1, help="Evaluate in N calls; `sam2lite join` joins them.")
]
ShardIndex = Annotated[
    int | None, typer.Option("--shard", metavar="I", min=0, help="Which of the --shards this call is, from 0.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Keep the finished sequences of an interrupted run.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("eval")(evaluate)


def evaluate(
    data: Data,
    result: Result,
    split: Split = "all",
    engine: EngineName = "torch",
    checkpoint: Checkpoint = None,
    package: Package = None,
    size: Size = FULL_SIZE,
    window: Window = WINDOW_MAX,
    budget: Budget = None,
    selection: SelectionName = "gate",
    selection_seed: SelectionSeed = None,
    threads: Threads = 1,
    target_fps: TargetFps = None,
    switch_every: SwitchEvery = None,
    min_quality: MinQuality = 0.0,
    fine: Fine = False,
    prompt: Prompts = "mask",
    sequences: Sequences = None,
    max_frames: MaxFrames = None,
    loop: Loop = None,
    flicker: Flicker = True,
    memory_cells: MemoryCells = False,
    save_masks: SaveMasks = None,
    pictures: Pictures = None,
    shards: Shards = None,
    shard: ShardIndex = None,
    resume: Resume = False,
) -> None:
    """Measure J and F on sequences in DAVIS layout.

    Each object is prompted in the first frame that shows it. The first and the last frame are left out of the means
    (semi-supervised DAVIS); a sequence with several objects counts every object. A click goes to the object's most
    interior pixel; a box is the tight one.

    The memory keeps --budget tokens, by the scores of the student's gate or, to compare, of a rule in its place: fifo
    (newest first), uniform (cells spread evenly over the frame), random, or simple (uncertain cells and cells of the
    object). Anchors and recent frames come first with all of them. With --budget unbounded it keeps every token of
    every frame and has no window (torch only). A package has the budget that it was built with.

    Beside J and F stand the stability measures: drift (J&F in points over 100 frames), consistency (standard deviation
    of J) and flicker (boundary that changes without motion, beside that of the annotation, in percent). FILE has the
    values of every frame, for `sam2lite report`.

    With --target-fps the scheduler chooses sizes up to --size, and windows, by what frames take on this machine: the
    score then depends on its speed and load. --switch-every shows what changes of the size cost, without a clock.

    --min-quality and --fine are remedies against known failures (docs/failures.md): objects that come back, tiny ones.

    Finished sequences are kept in FILE.partial until the end; --resume goes on from there if nothing else changed.

    Under torchrun each process takes a share of the sequences, balanced by frames, and the first one joins the parts.
    Machines that share only a folder take one of --shards each, and `sam2lite join FILE` makes one result of their
    FILE.shard-I-of-N. Scores are those of a single process; times are of processes that run side by side.
    """
    from sam2lite_mobile import __version__
    from sam2lite_mobile.cli.engine_options import check_target_fps
    from sam2lite_mobile.cli.eval_table import print_result
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.conditions import Conditions, engine_info, this_machine
    from sam2lite_mobile.evaluation.datasets import DavisLayout
    from sam2lite_mobile.evaluation.evaluate import evaluate_sequences
    from sam2lite_mobile.evaluation.remedies import Remedies
    from sam2lite_mobile.evaluation.results import PartialRun
    from sam2lite_mobile.evaluation.selection import Selection
    from sam2lite_mobile.evaluation.shards import frames_of, share

    mine, launched = _shard(shards, shard)
    kind = prompt_kind(prompt)
    if target_fps is not None:
        check_target_fps(target_fps, window=window)
    memory = memory_choice(selection, seed=selection_seed, budget=budget)
    layout = DavisLayout(data)
    names = layout.split(split)
    split_name = split if split == "all" else Path(split).stem
    if sequences is not None:
        names = subset(names, sequences, split=split)
        split_name = f"part of {split_name}"  # a score of a part must not pass for one of the split
    part = None
    if mine.count > 1:
        part = share(mine, frames_of(layout, names, max_frames=max_frames, loop_frames=loop))
    ready = open_engine(
        engine,
        checkpoint=checkpoint,
        package=package,
        threads=threads,
        size=size,
        window=window,
        bank_tokens=bank_tokens(budget),
        all_sizes=target_fps is not None or switch_every is not None,
    )
    pace = _pace(target_fps, switch_every, sizes=tuple(each for each in ready.engine.sizes if each <= size))
    conditions = Conditions(
        package_version=__version__,
        data=data.resolve().name,
        split=split_name,
        sequences=list(names),
        prompt=kind,
        size=size,
        window=window,
        budget=None if memory.selection is None else ready.engine.bank_tokens,
        selection=memory.selection,
        selection_seed=memory.seed if memory.selection is Selection.RANDOM else None,
        max_frames=max_frames,
        loop_frames=loop,
        engine=engine_info(ready.engine.describe(), ready.checkpoint_sha256, files_bytes=ready.files_bytes),
        machine=this_machine(),
        target_fps=target_fps,
        switch_every=switch_every,
        processes=mine.count,
        min_quality=min_quality,
        fine=fine,
    )
    run = PartialRun.open(mine.path(result), conditions, resume=resume, part=part)
    with frame_progress() as progress:
        tasks = {name: progress.add_task(name, total=None, visible=False) for name in run.missing}
        for finished in evaluate_sequences(
            ready.engine,
            layout,
            run.missing,
            size=size,
            prompt=kind,
            window=window,
            memory=memory,
            pace=pace,
            remedies=Remedies(min_quality, fine),
            max_frames=max_frames,
            loop_frames=loop,
            flicker=flicker,
            memory_cells=memory_cells,
            save_masks=save_masks,
            pictures=pictures,
            on_frame=lambda name, done, total: progress.update(
                tasks[name], completed=done, total=total, visible=done < total
            ),
        ):
            run.add(finished)
    complete = run.complete()
    if mine.count == 1:
        print_result(complete)
    elif not launched:
        typer.echo(f"written: {mine.path(result)}; when all {mine.count} are there: sam2lite join {result}")
    else:
        _join_launched(result, mine, conditions)


def _shard(shards: int | None, index: int | None) -> tuple[Shard, bool]:
    """Which process this is, and whether torchrun started it. Raises ContractError for options that do not fit."""
    from sam2lite_mobile.evaluation.launched import launched_shard
    from sam2lite_mobile.evaluation.shards import WHOLE, Shard

    launched = launched_shard()
    given = shards is not None or index is not None
    if launched is not None and given:
        raise ContractError(
            explain("--shards", expected="none under torchrun", got="both", do="leave the options or torchrun out")
        )
    if launched is not None:
        return launched, True
    if not given:
        return WHOLE, False
    if shards is None or index is None:
        missing = "--shards" if shards is None else "--shard"
        raise ContractError(
            explain("shard", expected="--shards N and --shard I", got=f"no {missing}", do="name both, or neither")
        )
    return Shard(index, shards), False


def _join_launched(result: Path, mine: Shard, conditions: Conditions) -> None:
    """In the first process: wait until the part of every process is written, join them and remove the parts."""
    from sam2lite_mobile.cli.eval_table import print_result
    from sam2lite_mobile.evaluation.launched import wait_for_parts
    from sam2lite_mobile.evaluation.results import write_result
    from sam2lite_mobile.evaluation.shards import join

    if mine.index > 0:
        return
    paths = mine.all_paths(result)
    joined = join(wait_for_parts(paths, conditions), names=[path.name for path in paths])
    write_result(result, joined)
    for path in paths:
        path.unlink()
    print_result(joined)


def _pace(target_fps: float | None, switch_every: int | None, *, sizes: tuple[int, ...]) -> Pace:
    """How sizes go from frame to frame. Raises ContractError where both options are given, or one is impossible."""
    from sam2lite_mobile.evaluation.pacing import FIXED, SwitchingPace, TargetPace

    if target_fps is not None and switch_every is not None:
        raise ContractError(
            explain("sizes", expected="--target-fps or --switch-every", got="both", do="leave one of them out")
        )
    if switch_every is not None:
        return SwitchingPace(switch_every, sizes)
    if target_fps is None:
        return FIXED
    return TargetPace(target_fps, sizes)


def prompt_kind(text: str) -> PromptKind:
    """The kind of prompt that --prompt names. Raises ContractError for another word."""
    from sam2lite_mobile.evaluation.prompting import PromptKind

    try:
        return PromptKind(text)
    except ValueError as error:
        raise ContractError(
            explain("--prompt", expected=" or ".join(PromptKind), got=repr(text), do="name one of these")
        ) from error


def subset(names: tuple[str, ...], text: str, *, split: str) -> tuple[str, ...]:
    """The sequences that --sequences names, in the order of the split. Raises ContractError for an unknown one."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            raise ContractError(
                explain(
                    "--sequences", expected=f"sequences of {split}", got=repr(name), do=f"choose of {', '.join(names)}"
                )
            )
    if not wanted:
        raise ContractError(explain("--sequences", expected="names with commas", got=repr(text), do="name one"))
    return tuple(name for name in names if name in wanted)
