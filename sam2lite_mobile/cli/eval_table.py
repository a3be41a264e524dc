"""The table at the end of `sam2lite eval`, with the conditions that its figures hold for."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.results import EvaluationResult, Measure

COLUMNS = ("J&F", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay", "p50 ms", "p95 ms")
TOTAL_STAGE = "total"


def print_result(result: EvaluationResult, console: Console | None = None) -> None:
    """Print a complete result: a row a sequence, the means, and one line of conditions; J and F in percent."""
    if result.summary is None:
        raise ValueError("a partial result has no means")
    table = Table(title=f"{result.conditions.data}/{result.conditions.split}, {result.conditions.prompt} prompt")
    table.add_column("sequence")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for sequence in result.sequences:
        table.add_row(sequence.name, *_scores(sequence.jf_mean, sequence.j, sequence.f), "", "")
    summary = result.summary
    total = summary.latency_ms.get(TOTAL_STAGE)
    times = ("", "") if total is None else (f"{total.p50:.1f}", f"{total.p95:.1f}")
    table.add_section()
    table.add_row("all objects", *_scores(summary.jf_mean, summary.j, summary.f), *times, style="bold")
    output = console or Console()
    output.print(table)
    output.print(conditions_line(result.conditions), highlight=False)


def conditions_line(conditions: Conditions) -> str:
    """What the figures hold for, in one line."""
    engine, machine = conditions.engine, conditions.machine
    return (
        f"{conditions.size} px, window {conditions.window}, {engine.name} {engine.version} {engine.precision} "
        f"({engine.detail}), {engine.threads} threads, {machine.processor}. Timed: {conditions.timer}."
    )


def _scores(jf_mean: float, j: Measure, f: Measure) -> tuple[str, ...]:
    values = (jf_mean, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay)
    return tuple(f"{100 * value:.1f}" for value in values)
