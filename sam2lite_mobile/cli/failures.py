"""`sam2lite failures`: make the suite of known failures from a data set, and measure a tracker on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.cli.engine_options import Checkpoint, EngineName, Package, Size, Threads, open_engine
from sam2lite_mobile.cli.eval import Data, Prompts, Sequences, Split, prompt_kind, subset
from sam2lite_mobile.cli.remedy_options import Fine, MinQuality
from sam2lite_mobile.contract import WINDOW_MAX
from sam2lite_mobile.errors import ContractError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.failures.cases import Kind

SUMMARY = "Known failures: a suite of videos that show one each, and how a tracker does on it."

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the suite.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the places and paths.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a suite that is in the folder.")]
Kinds = Annotated[str | None, typer.Option("--kinds", metavar="A,B", help="Only these failures.")]
SuiteFolder = Annotated[Path, typer.Option("--suite", metavar="DIR", help="From `sam2lite failures make`.")]
Result = Annotated[Path, typer.Option("--json", metavar="FILE", help="Where all figures go.")]
Table = Annotated[Path | None, typer.Option("--table", metavar="FILE", help="Also write the means as Markdown.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(no_args_is_help=True, help=SUMMARY)
    group.command("make")(make)
    group.command("run")(run)
    app.add_typer(group, name="failures")


def make(
    data: Data,
    out: Out,
    split: Split = "all",
    sequences: Sequences = None,
    kinds: Kinds = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make the suite from the frames and masks of a data set in DAVIS layout, for measuring only.

    Every sequence gives its object to ten videos, over or beside the video of the next sequence: tiny objects,
    occlusion, absence, fast motion, camera cuts, a look-alike, glass and reflections. Masks are exact. DIR is a data
    set in DAVIS layout itself, with suite.json beside it.
    """
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.datasets import DavisLayout
    from sam2lite_mobile.evaluation.failures.suite import make_suite

    layout = DavisLayout(data)
    names = layout.split(split)
    if sequences is not None:
        names = subset(names, sequences, split=split)
    wanted = chosen_kinds(kinds)
    with frame_progress() as progress:
        task = progress.add_task("drawing", total=None)

        def on_frame(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        suite = make_suite(layout, names, out, seed=seed, kinds=wanted, overwrite=overwrite, on_frame=on_frame)
    typer.echo(f"{len(suite.cases)} sequences, {sum(case.frames for case in suite.cases)} frames in {out}")


def run(
    suite: SuiteFolder,
    result: Result,
    table: Table = None,
    kinds: Kinds = None,
    engine: EngineName = "torch",
    checkpoint: Checkpoint = None,
    package: Package = None,
    size: Size = 256,
    threads: Threads = 1,
    prompt: Prompts = "mask",
    min_quality: MinQuality = 0.0,
    fine: Fine = False,
) -> None:
    """Track every video of the suite, and print the means of every kind of failure.

    FILE has every video: J&F, whether the object was found again within 15 frames of its return, masks where it is
    hidden, frames on the look-alike, frames lost, and the median time of a frame. --min-quality and --fine are the
    remedies against what is measured here.
    """
    from sam2lite_mobile import __version__
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.conditions import engine_info, this_machine
    from sam2lite_mobile.evaluation.failures.cases import read_suite
    from sam2lite_mobile.evaluation.failures.measures import by_kind
    from sam2lite_mobile.evaluation.failures.run import SCHEMA_VERSION, FailuresResult, run_case, write_failures
    from sam2lite_mobile.evaluation.failures.table import markdown
    from sam2lite_mobile.evaluation.remedies import Remedies
    from sam2lite_mobile.media.atomic_file import replace_file

    for option, path in (("--json", result), ("--table", table)):
        if path is not None and not path.resolve().parent.is_dir():
            raise ContractError(explain(option, expected="a file in an existing folder", got=path, do="create it"))
    kind = prompt_kind(prompt)
    wanted = chosen_kinds(kinds)
    described = read_suite(suite)
    cases = [case for case in described.cases if case.kind in wanted]
    if not cases:
        raise ContractError(explain("--kinds", expected="kinds of this suite", got=kinds, do="leave it out"))
    ready = open_engine(engine, checkpoint=checkpoint, package=package, threads=threads, size=size, window=WINDOW_MAX)
    remedies = Remedies(min_quality, fine)
    scores = []
    with frame_progress() as progress:
        task = progress.add_task("tracking", total=None)

        def on_frame(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        for case in cases:
            scores.append(
                run_case(ready.engine, suite, case, size=size, prompt=kind, remedies=remedies, on_frame=on_frame)
            )
    measured = FailuresResult(
        schema_version=SCHEMA_VERSION,
        package_version=__version__,
        suite=described,
        prompt=kind,
        size=size,
        engine=engine_info(ready.engine.describe(), ready.checkpoint_sha256),
        machine=this_machine(),
        cases=scores,
        kinds=by_kind(scores),
        min_quality=min_quality,
        fine=fine,
    )
    write_failures(result, measured)
    text = markdown(measured)
    if table is not None:
        replace_file(table, text.encode())
    typer.echo(text)


def chosen_kinds(text: str | None) -> tuple[Kind, ...]:
    """The failures that --kinds names, all of them if None. Raises ContractError for another word."""
    from sam2lite_mobile.evaluation.failures.cases import Kind

    if text is None:
        return tuple(Kind)
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in tuple(Kind):
            raise ContractError(explain("--kinds", expected=", ".join(Kind), got=repr(word), do="name some of these"))
    return tuple(kind for kind in Kind if kind in words)
