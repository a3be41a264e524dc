"""`sam2lite ablate`: what each part of training is worth, measured over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.cli.train import Data, missing_extra_explained
from sam2lite_mobile.errors import ContractError, explain

SuiteName = Annotated[str, typer.Option("--suite", metavar="NAME", help="What is compared: distillation.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the runs; a second call goes on there.")]
Seeds = Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Runs of each variant.")]
Jobs = Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Runs at a time, one thread each.")]
BaseRecipe = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME|FILE", help="Another base than the suite's own recipe.")
]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", help="Where SUITE.json and SUITE.md go; DIR of --out if none.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("ablate")(ablate)


def ablate(
    suite: SuiteName,
    out: Out,
    data: Data = None,
    seeds: Seeds = 3,
    jobs: Jobs = 2,
    recipe: BaseRecipe = None,
    report: Report = None,
) -> None:
    """Train every variant of a suite with every seed, and compare them.

    `distillation`: the full recipe; without attention matching; without readout matching; without both; FIFO in place
    of the token gate; no teacher; plain patches. Students are scored (J&F) on the sequences that the recipe holds out.

    Finished runs are kept in DIR/runs. Ctrl-C saves what is running and exits with 130; the same command goes on, and
    the tables are written from whatever is finished.
    """
    with missing_extra_explained():
        from sam2lite_mobile.cli.ablate_view import SuiteProgress, print_outcome
        from sam2lite_mobile.evaluation.datasets import training_data
        from sam2lite_mobile.training.ablation.outcome import write_outcome
        from sam2lite_mobile.training.ablation.suite_run import outcome_of, run_suite, tasks
        from sam2lite_mobile.training.ablation.suites import SUITES
        from sam2lite_mobile.training.loop import make_folder
        from sam2lite_mobile.training.recipe import load_recipe

    if suite not in SUITES:
        raise ContractError(explain("--suite", expected=" or ".join(SUITES), got=repr(suite), do="name one of these"))
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
