"""The tables at the end of `sam2lite bench`: times, ratios, limits, memory, and what they hold for."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sam2lite_mobile.cli.figure_table import figure_table
from sam2lite_mobile.evaluation.bench.results import BenchResult, LongRun, PartTimes, SubjectResult
from sam2lite_mobile.evaluation.bench.subjects import HOST, TOTAL

MEGABYTE = 1e6


def print_bench(result: BenchResult, console: Console | None = None) -> None:
    """Print a benchmark: one table for each question, then the conditions and the notes."""
    output = console or Console()
    output.print(_times(result))
    output.print(_host(result))
    if result.ratios:
        output.print(_ratios(result))
    if result.verdicts:
        output.print(_verdicts(result))
    if any(subject.memory is not None for subject in result.subjects):
        output.print(_memory(result))
    if result.long_run is not None:
        output.print(_long_run(result.long_run))
    for line in (*conditions_lines(result), *(f"note: {note}" for note in result.notes)):
        output.print(line, highlight=False, markup=False)


def conditions_lines(result: BenchResult) -> list[str]:
    """What the figures hold for, line by line."""
    conditions = result.conditions
    loads = " to ".join("?" if load is None else f"{load:.2f}" for load in (conditions.load_start, conditions.load_end))
    engines = dict.fromkeys(f"{each.engine.name} {each.engine.version}" for each in result.subjects)
    return [
        f"{conditions.rounds} rounds after {conditions.warm_up_rounds} of warm-up, threads: {conditions.threads}, "
        f"{conditions.machine.processor} ({conditions.machine.cores} cores), load average {loads}",
        f"clip {conditions.clip}; {'; '.join(engines)}",
        *dict.fromkeys(f"timed: {each.scope}" for each in result.subjects),
    ]


def _times(result: BenchResult) -> Table:
    """Medians by part: a column a subject, `-` where a subject has no such part."""
    names = dict.fromkeys(name for subject in result.subjects for name in subject.parts if name != TOTAL)
    table = figure_table("median ms a frame", "part", *(subject.name for subject in result.subjects))
    for name in names:
        table.add_row(name, *(_median(subject.parts.get(name)) for subject in result.subjects))
    table.add_section()
    totals = [subject.parts[TOTAL] for subject in result.subjects]
    table.add_row(TOTAL, *(_median(times) for times in totals), style="bold")
    table.add_row("p95", *(f"{times.wall_ms.p95:.1f}" for times in totals))
    table.add_row("processor time", *(f"{times.cpu_ms.p50:.1f}" for times in totals))
    return table


def _median(times: PartTimes | None) -> str:
    return "-" if times is None else f"{times.wall_ms.p50:.1f}"


def _host(result: BenchResult) -> Table:
    subjects = [subject for subject in result.subjects if subject.host_ms]
    stages = dict.fromkeys(stage for subject in subjects for stage in subject.host_ms)
    table = figure_table("host: median ms a frame, outside the engine", "subject", *stages, "checks, rest", HOST)
    for subject in subjects:
        whole = subject.parts[HOST].wall_ms.p50
        known = [subject.host_ms[stage].p50 for stage in stages]
        cells = (*known, max(0.0, whole - sum(known)), whole)
        table.add_row(subject.name, *(f"{value:.2f}" for value in cells))
    return table


def _ratios(result: BenchResult) -> Table:
    peer = result.ratios[0].peer
    table = figure_table(f"whole frame / {peer}, median of the rounds", "subject", "wall", "quartiles", "processor")
    for ratio in result.ratios:
        quartiles = f"{ratio.wall_low:.3f}-{ratio.wall_high:.3f}"
        table.add_row(ratio.subject, f"{ratio.wall:.3f}", quartiles, f"{ratio.cpu:.3f}")
    return table


def _verdicts(result: BenchResult) -> Table:
    table = figure_table("limits, on the wall clock", "what", "measured", "limit", "")
    for verdict in result.verdicts:
        table.add_row(
            verdict.what, f"{verdict.measured:.3f}", f"{verdict.limit:.2f}", "held" if verdict.held else "missed"
        )
    return table


def _memory(result: BenchResult) -> Table:
    table = figure_table("memory of a process, MB", "subject", "before", "peak", "added", "parameters")
    for subject in result.subjects:
        if subject.memory is not None:
            before, peak = subject.memory.before_bytes, subject.memory.peak_bytes
            cells = [f"{value / MEGABYTE:.0f}" for value in (before, peak, peak - before)]
            table.add_row(subject.name, *cells, _parameters(subject))
    return table


def _parameters(subject: SubjectResult) -> str:
    return "-" if subject.parameters is None else f"{subject.parameters / 1e6:.2f} M"


def _long_run(run: LongRun) -> Table:
    table = figure_table(f"{run.frames} frames of {run.subject}", "frames", "median ms", "processor ms", "resident MB")
    for segment in run.segments:
        frames = f"{segment.first_frame} to {segment.first_frame + segment.frames - 1}"
        resident = f"{segment.resident_bytes / MEGABYTE:.1f}"
        table.add_row(frames, f"{segment.wall_ms:.1f}", f"{segment.cpu_ms:.1f}", resident)
    return table
