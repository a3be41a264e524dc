"""The table at the end of `sam2lite eval`, with the conditions that its figures hold for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.energy import Energy
from sam2lite_mobile.evaluation.latency import Percentiles, frames_per_second
from sam2lite_mobile.evaluation.results import EvaluationResult, Measure, ResidentSample, Summary, stability_of
from sam2lite_mobile.evaluation.stability import Stability

COLUMNS = ("J&F", "J", "recall", "decay", "F", "recall", "decay")
"""Means in percent; recall and decay stand beside the measure that they belong to."""
STABILITY_COLUMNS = ("drift", "decay", "consistency", "flicker", "annotation's")
STABILITY_NOTE = (
    "drift: change of J&F in 100 frames; decay: J&F of the first quarter less the last; consistency: standard "
    "deviation of J; flicker: boundary that changes without motion, beside the annotation's"
)
TOTAL_STAGE = "total"


def print_result(result: EvaluationResult, console: Console | None = None) -> None:
    """Print a complete result: a row a sequence, the means, and what they hold for; J and F in percent."""
    if result.summary is None:
        raise ValueError("a partial result has no means")
    table = Table(title=Text(table_title(result.conditions)))
    table.add_column("sequence", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for sequence in result.sequences:
        table.add_row(sequence.name, *_scores(sequence.jf_mean, sequence.j, sequence.f))
    summary = result.summary
    table.add_section()
    table.add_row("all objects", *_scores(summary.jf_mean, summary.j, summary.f), style="bold")
    output = console or Console()
    output.print(table)
    output.print(_stability_table(result))
    output.print(STABILITY_NOTE, highlight=False, markup=False)
    output.print(conditions_line(result.conditions), highlight=False, markup=False)
    if (total := summary.latency_ms.get(TOTAL_STAGE)) is not None:
        times = f"p50 {total.p50:.1f}, p95 {total.p95:.1f}, p99 {total.p99:.1f} ms a frame"
        speed = f"{times}, {frames_per_second(total):.1f} frames a second"
        output.print(f"{speed} ({result.conditions.timer})", highlight=False, markup=False)
        output.print(_stages(summary.latency_ms))
    for line in cost_lines(summary, result.conditions.engine.files_bytes):
        output.print(line, highlight=False, markup=False)
    for sequence in result.sequences:
        if sequence.resident:
            output.print(_resident_line(sequence.name, sequence.resident), highlight=False, markup=False)


def cost_lines(summary: Summary, files_bytes: int | None) -> list[str]:
    """Memory and energy in a line each; none where they were not measured. files_bytes: of the engine's files."""
    lines = []
    if (memory := summary.memory) is not None:
        lines.append(
            f"resident memory: {memory.loaded_bytes / 1e6:.1f} MB with the engine loaded, at most "
            f"{memory.peak_bytes / 1e6:.1f} MB, scoring included"
            + ("" if files_bytes is None else f"; files of the engine: {files_bytes / 1e6:.1f} MB")
        )
    if (energy := summary.energy) is not None:
        how = "the processors' counters" if energy.watts_per_core is None else _model_words(energy)
        lines.append(
            f"energy: {energy.watt_hours:.2f} Wh for {energy.video_minutes:g} minutes of video at "
            f"{energy.video_fps:g} frames a second, {energy.joules_per_frame:.2f} J a frame ({how})"
        )
    return lines


def _model_words(energy: Energy) -> str:
    return (
        f"model: {energy.processor_s_per_frame:.3f} processor seconds a frame times {energy.watts_per_core:g} W of a "
        "busy core, not measured"
    )


def table_title(conditions: Conditions) -> str:
    """What was measured, for the head of a table; a part of a split or of its clips is called one."""
    cut = "" if conditions.max_frames is None else f", first {conditions.max_frames} frames"
    loop = "" if conditions.loop_frames is None else f", forth and back to {conditions.loop_frames} frames"
    return f"{conditions.data}/{conditions.split}{cut}{loop}, {conditions.prompt} prompt"


def conditions_line(conditions: Conditions) -> str:
    """What the figures hold for, in one line."""
    engine, machine = conditions.engine, conditions.machine
    return (
        f"{size_name(conditions)}, {memory_name(conditions)}, {engine.name} {engine.version} {engine.precision} "
        f"({engine.detail}), threads: {engine.threads}, {machine.processor}"
    )


def size_name(conditions: Conditions) -> str:
    """The input size, and what changed it from frame to frame."""
    size = f"{conditions.size} px"
    if conditions.target_fps is not None:
        return f"up to {size} for {conditions.target_fps:g} frames a second"
    return (
        size
        if conditions.switch_every is None
        else f"up to {size}, another size every {conditions.switch_every} frames"
    )


def memory_name(conditions: Conditions) -> str:
    """The memory that was measured: its window, tokens and what chose them."""
    if conditions.budget is None:
        return "unbounded memory"
    seed = "" if conditions.selection_seed is None else f" {conditions.selection_seed}"
    return f"window {conditions.window}, {conditions.budget} tokens by {conditions.selection}{seed}"


def _scores(jf_mean: float, j: Measure, f: Measure) -> tuple[str, ...]:
    values = (jf_mean, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay)
    return tuple(f"{100 * value:.1f}" for value in values)


def _stability_table(result: EvaluationResult) -> Table:
    """Points of 100; a row a sequence, then the means."""
    table = Table("sequence", title="stability")
    for column in STABILITY_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for sequence in result.sequences:
        table.add_row(sequence.name, *_stability(stability_of(sequence.objects)))
    table.add_section()
    everything = [scores for sequence in result.sequences for scores in sequence.objects]
    table.add_row("all objects", *_stability(stability_of(everything)), style="bold")
    return table


def _stability(found: Stability) -> tuple[str, ...]:
    flicker = ("-" if value is None else f"{100 * value:.1f}" for value in (found.flicker, found.annotated_flicker))
    drift, decay = (f"{100 * value:+z.1f}" for value in (found.drift, found.decay))
    return drift, decay, f"{100 * found.consistency:.1f}", *flicker


def _stages(latency_ms: Mapping[str, Percentiles]) -> Table:
    """Time by stage; stages that never ran are left out."""
    table = Table("stage", title="milliseconds a frame")
    for column in ("p50", "p95", "p99"):
        table.add_column(column, justify="right")
    for stage, found in latency_ms.items():
        if found.p99 > 0:
            words = stage.replace("_", " ")
            table.add_row(words, *(f"{value:.1f}" for value in (found.p50, found.p95, found.p99)))
    return table


def _resident_line(name: str, samples: Sequence[ResidentSample]) -> str:
    """Memory of the process over a looped clip."""
    first, last = samples[0], samples[-1]
    megabytes = [each.resident_bytes / 1e6 for each in samples]
    return (
        f"{name}: resident memory {megabytes[0]:.1f} MB after frame {first.frame}, {megabytes[len(samples) // 2]:.1f} "
        f"halfway, {megabytes[-1]:.1f} after frame {last.frame}"
    )
