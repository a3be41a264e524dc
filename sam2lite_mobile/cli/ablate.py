"""`sam2lite ablate`: what each part of training, or each choice at inference, is worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.cli.train import missing_extra_explained
from sam2lite_mobile.contract import FULL_SIZE
from sam2lite_mobile.errors import ContractError, explain

INFERENCE = "inference"
SuiteName = Annotated[str, typer.Option("--suite", metavar="NAME", help="What is compared: distillation or inference.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the runs; a second call goes on there.")]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", help="Where SUITE.json and SUITE.md go; DIR of --out if none.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="ROOT",
        help="distillation: folder with train/, SAM2LITE_DATA or ../shared/data if left out. inference: folder with "
        "JPEGImages/ and Annotations/.",
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", metavar="N", min=1, help="distillation: runs of each variant; 3 if left out.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="distillation: runs at a time, one thread each; 2 if left out."),
]
BaseRecipe = Annotated[
    str | None,
    typer.Option("--recipe", metavar="NAME|FILE", help="distillation: another base than the suite's own recipe."),
]
Split = Annotated[str | None, typer.Option("--split", metavar="NAME|FILE", help="inference: as in eval; all.")]
Sequences = Annotated[
    str | None, typer.Option("--sequences", metavar="A,B", help="inference: only these of the split.")
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", metavar="NAME", help="inference: torch, coreml, onnx, tflite or executorch; torch."),
]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="FILE", help="inference: weights for torch; those in assets/.")
]
Package = Annotated[
    Path | None,
    typer.Option("--package", metavar="DIR", help="inference: for all engines but torch; it has one budget."),
]
Size = Annotated[
    int | None, typer.Option("--size", metavar="R", help=f"inference: the default's input size; {FULL_SIZE}.")
]
Prompts = Annotated[
    str | None, typer.Option("--prompt", metavar="mask|box|click", help="inference: given in the first frame; mask.")
]
MaxFrames = Annotated[
    int | None, typer.Option("--max-frames", metavar="N", min=3, help="inference: cut every sequence after N frames.")
]
Variants = Annotated[
    str | None,
    typer.Option(
        "--variants",
        metavar="A,B",
        help="inference: only these, by factor (budget, window, selection, size, adaptive) or name (budget_256).",
    ),
]
Rounds = Annotated[
    int | None, typer.Option("--rounds", metavar="N", min=1, help="inference: timed frames of every variant; 20.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="inference: processor threads of the engine; 1.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("ablate")(ablate)


def ablate(
    suite: SuiteName,
    out: Out,
    data: Data = None,
    report: Report = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    recipe: BaseRecipe = None,
    split: Split = None,
    sequences: Sequences = None,
    engine: EngineName = None,
    checkpoint: Checkpoint = None,
    package: Package = None,
    size: Size = None,
    prompt: Prompts = None,
    max_frames: MaxFrames = None,
    variants: Variants = None,
    rounds: Rounds = None,
    threads: Threads = None,
) -> None:
    """Measure what each part of training, or each choice at inference, is worth.

    `distillation` trains every variant with every seed: the full recipe; without attention matching; without readout
    matching; without both; FIFO in place of the token gate; no teacher; plain patches. Students are scored (J&F) on the
    sequences that the recipe holds out. Finished runs are kept in DIR/runs.

    `inference` evaluates one student, or a package, with one choice at a time that differs from the default: budget of
    the memory, its window, what scores the tokens, input size, changing sizes and the scheduler; and times a frame of
    every variant in interleaved rounds. DIR/NAME.json is a result of `sam2lite eval` each.

    Ctrl-C saves what is finished and exits with 130; the same command goes on, and the tables are written from whatever
    is there.
    """
    for_training = {"--seeds": seeds, "--jobs": jobs, "--recipe": recipe}
    for_inference = {
        "--split": split,
        "--sequences": sequences,
        "--engine": engine,
        "--checkpoint": checkpoint,
        "--package": package,
        "--size": size,
        "--prompt": prompt,
        "--max-frames": max_frames,
        "--variants": variants,
        "--rounds": rounds,
        "--threads": threads,
    }
    if suite != INFERENCE:
        _refuse(for_inference, suite=INFERENCE, got=suite)
        _distillation(suite, out, data, seeds=seeds or 3, jobs=jobs or 2, recipe=recipe, report=report)
        return
    _refuse(for_training, suite="distillation", got=suite)
    if data is None:
        raise ContractError(
            explain("--data", expected="a folder with JPEGImages/ and Annotations/", got="none", do="name one")
        )
    from sam2lite_mobile.cli.ablate_inference import ROUNDS, InferenceOptions, ablate_inference

    ablate_inference(
        InferenceOptions(
            out=out,
            data=data,
            split=split or "all",
            sequences=sequences,
            engine=engine or "torch",
            checkpoint=checkpoint,
            package=package,
            size=FULL_SIZE if size is None else size,
            prompt=prompt or "mask",
            max_frames=max_frames,
            variants=variants,
            rounds=ROUNDS if rounds is None else rounds,
            threads=threads or 1,
            report=report,
        )
    )


def _refuse(options: Mapping[str, object], *, suite: str, got: str) -> None:
    """Raise ContractError for an option of the other suite."""
    for name, value in options.items():
        if value is not None:
            raise ContractError(explain(name, expected=f"--suite {suite}", got=f"--suite {got}", do="leave it out"))


def _distillation(
    suite: str, out: Path, data: Path | None, *, seeds: int, jobs: int, recipe: str | None, report: Path | None
) -> None:
    """Train every variant of a suite with every seed, and compare them."""
    with missing_extra_explained():
        from sam2lite_mobile.cli.ablate_view import SuiteProgress, print_outcome
        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training.ablation.outcome import write_outcome
        from sam2lite_mobile.training.ablation.suite_run import outcome_of, run_suite, tasks
        from sam2lite_mobile.training.ablation.suites import SUITES
        from sam2lite_mobile.training.loop import make_folder
        from sam2lite_mobile.training.recipe import load_recipe

    if suite not in SUITES:
        expected = " or ".join((*SUITES, INFERENCE))
        raise ContractError(explain("--suite", expected=expected, got=repr(suite), do="name one of these"))
    chosen = SUITES[suite]
    base = chosen.base() if recipe is None else load_recipe(recipe)
    if base.distillation is None or not base.hold_out:
        raise ContractError(
            explain(
                f"base recipe {base.name}",
                expected="a teacher, and held-out sequences to score on",
                got="none",
                do="add [distillation] and hold_out",
            )
        )
    wanted = tasks(chosen, base=base, seeds=seeds, out=out, data_root=training_data(data))
    folder = report or out
    for needed in (out, folder):
        make_folder(needed)
    with stop_on_interrupt() as stop, SuiteProgress(wanted) as shown:
        scores = run_suite(wanted, jobs=jobs, stop=lambda: stop.requested, on_progress=shown.show)
    if scores:
        outcome = outcome_of(chosen, scores, base=base)
        make_folder(folder)  # hours have passed, and somebody may have tidied up
        paths = write_outcome(folder, chosen, outcome)
        print_outcome(chosen, outcome)
        typer.echo("written: " + " and ".join(str(path) for path in paths))
    if stop.requested:
        typer.echo(f"{len(scores)} of {len(wanted)} runs are finished; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED)
