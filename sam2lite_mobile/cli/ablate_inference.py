"""`sam2lite ablate --suite inference`: opens the engines, shows progress, and goes on where an earlier call stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sam2lite_mobile.cli.engine_options import OpenEngine, check_settings, engine_source, open_engine, weights_sha256
from sam2lite_mobile.cli.interrupt import INTERRUPTED, stop_on_interrupt
from sam2lite_mobile.contract import BANK_TOKENS, WINDOW_MAX

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sam2lite_mobile.evaluation.ablation.suite_run import InferenceSuite
    from sam2lite_mobile.evaluation.ablation.variants import Variant
    from sam2lite_mobile.runtime.engine import Engine

ROUNDS = 20
"""Timed rounds: a frame of every variant in each."""


@dataclass(frozen=True)
class InferenceOptions:
    """What the call asks for; see the options of `sam2lite eval`."""

    out: Path
    data: Path
    split: str
    sequences: str | None
    engine: str
    checkpoint: Path | None
    package: Path | None
    size: int
    prompt: str
    max_frames: int | None
    variants: str | None
    rounds: int
    threads: int
    report: Path | None


@dataclass
class _Engines:
    """One engine a budget, with the sizes that variants asked for warmed up."""

    options: InferenceOptions
    opened: dict[int, OpenEngine] = field(default_factory=dict)
    warm: set[tuple[int, int]] = field(default_factory=set)

    def __call__(self, variant: Variant) -> Engine:
        asked = self.options
        if variant.budget not in self.opened:
            self.opened[variant.budget] = open_engine(
                asked.engine,
                checkpoint=asked.checkpoint,
                package=asked.package,
                threads=asked.threads,
                size=variant.size,
                window=WINDOW_MAX,
                bank_tokens=None if asked.package is not None else variant.budget,
            )
        engine = self.opened[variant.budget].engine
        for size in engine.sizes if variant.factor == "adaptive" else (variant.size,):
            if (variant.budget, size) not in self.warm:
                engine.warm_up(size)
                self.warm.add((variant.budget, size))
        return engine


def ablate_inference(options: InferenceOptions) -> None:
    """Run the suite, or what is left of it, and write its tables from whatever is finished."""
    from rich.console import Console

    from sam2lite_mobile.cli.bench_table import rich_table
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.ablation.outcome import conditions_line, variants_table
    from sam2lite_mobile.evaluation.ablation.suite_run import run_variant, suite_times, write_suite
    from sam2lite_mobile.evaluation.bench.clip import bench_clip
    from sam2lite_mobile.evaluation.bench.sweep_plot import check_plotting
    from sam2lite_mobile.training.loop import make_folder

    check_plotting()
    suite = _suite(options)
    folder = options.report or options.out
    for needed in (options.out, folder):
        make_folder(needed)
    results = {}
    with stop_on_interrupt() as stop, frame_progress() as progress:
        timing = progress.add_task("timing, rounds", total=None)
        times = suite_times(
            suite,
            bench_clip(),
            rounds=options.rounds,
            on_round=lambda done, total: progress.update(timing, completed=done, total=total),
        )
        progress.update(timing, visible=False)
        for number, variant in enumerate(suite.variants, start=1):
            task = progress.add_task(f"{number} of {len(suite.variants)}: {variant.title}", total=None)
            shown = partial(_show, progress, task)
            found = run_variant(
                suite, variant, target_fps=times.target_fps, stop=lambda: stop.requested, on_frame=shown
            )
            progress.update(task, visible=False)
            if found is None:
                break
            results[variant.name] = found
    if results:
        outcome, paths = write_suite(folder, suite.variants, results, times)
        console = Console()
        console.print(rich_table(variants_table(outcome)))
        console.print(conditions_line(outcome), highlight=False, markup=False)
        typer.echo("written: " + ", ".join(str(path) for path in paths))
    if stop.requested and len(results) < len(suite.variants):
        typer.echo(f"{len(results)} of {len(suite.variants)} variants are finished; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED)


def _show(progress: Progress, task: TaskID, name: str, done: int, total: int) -> None:
    """The frames of the sequence that a variant is at."""
    progress.update(task, completed=done, total=total)


def _suite(options: InferenceOptions) -> InferenceSuite:
    """The variants and the conditions of the default's evaluation."""
    from sam2lite_mobile import __version__
    from sam2lite_mobile.cli.eval import prompt_kind, subset
    from sam2lite_mobile.engines import create_engine
    from sam2lite_mobile.evaluation.ablation.suite_run import InferenceSuite
    from sam2lite_mobile.evaluation.ablation.variants import chosen_variants, inference_variants
    from sam2lite_mobile.evaluation.conditions import Conditions, engine_info, files_bytes, this_machine
    from sam2lite_mobile.evaluation.datasets import DavisLayout
    from sam2lite_mobile.evaluation.selection import Selection

    check_settings(size=options.size, window=WINDOW_MAX)
    kind = prompt_kind(options.prompt)
    layout = DavisLayout(options.data)
    names = layout.split(options.split)
    split = options.split if options.split == "all" else Path(options.split).stem
    if options.sequences is not None:
        names, split = subset(names, options.sequences, split=options.split), f"part of {split}"
    source = engine_source(options.engine, checkpoint=options.checkpoint, package=options.package)
    fixed = options.package is not None
    engine = create_engine(
        options.engine, source=source, threads=options.threads, bank_tokens=None if fixed else BANK_TOKENS
    )
    variants = chosen_variants(
        inference_variants(options.size, sizes=engine.sizes, budget=engine.bank_tokens, fixed_budget=fixed),
        options.variants,
    )
    base = Conditions(
        package_version=__version__,
        data=options.data.resolve().name,
        split=split,
        sequences=list(names),
        prompt=kind,
        size=options.size,
        window=WINDOW_MAX,
        budget=engine.bank_tokens,
        selection=Selection.GATE,
        selection_seed=None,
        max_frames=options.max_frames,
        engine=engine_info(
            engine.describe(), weights_sha256(source), files_bytes=None if source is None else files_bytes(source)
        ),
        machine=this_machine(),
    )
    return InferenceSuite(variants, layout, base, _Engines(options), options.out)
