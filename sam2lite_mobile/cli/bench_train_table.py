"""The tables at the end of `sam2lite bench-train`: time, data, memory, and what they hold for."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sam2lite_mobile.cli.figure_table import figure_table
from sam2lite_mobile.training.cost.results import WAIT_GOAL, CostConditions, PhaseCost, StepShares, TrainingCost

MEGABYTE = 1e6


def print_cost(cost: TrainingCost, console: Console | None = None) -> None:
    """Print what training costs: a table for each question, the phases row by row, then the conditions and notes."""
    output = console or Console()
    for table in (_times(cost), _shares(cost), _data(cost), _memory(cost)):
        output.print(table)
    for line in (*conditions_lines(cost.conditions), *(f"note: {note}" for note in cost.notes)):
        output.print(line, highlight=False, markup=False)


def conditions_lines(conditions: CostConditions) -> list[str]:
    """What the figures hold for, line by line."""
    loads = " to ".join("?" if load is None else f"{load:.2f}" for load in (conditions.load_start, conditions.load_end))
    pieces = "" if conditions.micro_clips is None else f" in pieces of {conditions.micro_clips}"
    return [
        f"recipe {conditions.recipe} ({conditions.recipe_sha256[:12]}), student {conditions.student}, "
        f"{conditions.parameters / 1e6:.2f} M parameters, {conditions.precision}, "
        f"batches of {conditions.batch_clips} clips{pieces}, data {conditions.data}",
        f"{conditions.device}, {conditions.machine.processor} ({conditions.machine.cores} cores), threads: "
        f"{conditions.threads}, workers: {conditions.workers}, torch {conditions.torch_version}, load average {loads}",
        f"timed: {conditions.timer}",
        f"memory: {conditions.memory_scope}",
    ]


def _name(phase: PhaseCost) -> str:
    return f"{phase.number}: {phase.settings['frames']} frames"


def _times(cost: TrainingCost) -> Table:
    """Speed of each phase, medians over its steps, and the hours that all of its steps take at it."""
    columns = ("clips/s", "s a step", "p90", "CPU s", "steps in all", "hours")
    table = figure_table("time", "phase", "steps x pixels", *columns)
    for phase in cost.phases:
        times = phase.times
        sizes = ", ".join(f"{each.steps}x{each.size}" for each in times.by_size)
        steps = (f"{each:.3f}" for each in (times.step_s_median, times.step_s_p90, times.processor_s_median))
        table.add_row(
            _name(phase), sizes, f"{times.clips_per_s:.2f}", *steps, str(phase.all_steps), f"{phase.hours:.2f}"
        )
    table.add_section()
    steps_in_all = sum(phase.all_steps for phase in cost.phases)
    table.add_row("all", *[""] * 5, str(steps_in_all), f"{cost.hours:.2f}", style="bold")
    return table


def _shares(cost: TrainingCost) -> Table:
    """Where the time of a step goes."""
    table = figure_table("% of a step", "phase", "waiting for data", "forward", "backward", "update")
    for phase in cost.phases:
        table.add_row(_name(phase), _percent(phase.times.wait_share), *_parts(phase.times.shares))
    return table


def _parts(shares: StepShares | None) -> list[str]:
    if shares is None:
        return ["-"] * 3
    return [_percent(share) for share in (shares.forward, shares.backward, shares.update)]


def _data(cost: TrainingCost) -> Table:
    """What is made, what is used, and which of them is less."""
    title = f"data: clips/s; the goal is to wait for under {WAIT_GOAL:.0%} of the time"
    table = figure_table(
        title, "phase", "a worker alone", "training alone", "settled wait %", "workers needed", "limited by"
    )
    for phase in cost.phases:
        data = phase.data
        speeds = (f"{data.worker_clips_per_s:.2f}", f"{data.compute_clips_per_s:.2f}")
        wait = _percent(data.settled_wait_share)
        table.add_row(_name(phase), *speeds, wait, str(data.workers_needed), data.limited_by)
    return table


def _memory(cost: TrainingCost) -> Table:
    """Peaks, and the largest micro batch where it was looked for."""
    table = figure_table("peak memory, MB", "phase", "process", "workers", "GPU", "clips that fit")
    for phase in cost.phases:
        memory = phase.memory
        peaks = (_megabytes(each) for each in (memory.process_bytes, memory.workers_bytes, memory.device_bytes))
        fitting = phase.largest_micro_clips
        table.add_row(_name(phase), *peaks, "-" if fitting is None else str(fitting))
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / MEGABYTE:.0f}"
