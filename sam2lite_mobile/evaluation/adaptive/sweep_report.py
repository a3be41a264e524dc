"""A sweep of the scheduler as a Markdown page with pictures, ready to be committed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sam2lite_mobile.evaluation.adaptive.latency_table import LatencyTable
from sam2lite_mobile.evaluation.adaptive.step_response import AFTER, ON_TARGET, ROOM, SETTLING_LIMIT
from sam2lite_mobile.evaluation.adaptive.sweep import (
    FLAT_FRAMES,
    HEAT_MINUTES,
    SEEDS,
    Score,
    SweepResult,
    best,
    given,
)
from sam2lite_mobile.evaluation.adaptive.sweep_plot import (
    STAIR_FRAMES,
    STAIRS_TARGET_MS,
    gains_picture,
    stairs,
    stairs_picture,
)
from sam2lite_mobile.media.atomic_file import replace_file

TITLE = "# Scheduler"


def write_sweep_report(path: Path, result: SweepResult, table: LatencyTable) -> list[Path]:
    """Write the page, and `<stem>_gains.svg` and `<stem>_stairs.svg` beside it; the paths, the page first.

    table: the one that the result was made with. Raises DataError where a file cannot be written.
    """
    pictures = {"gains": gains_picture(result), "stairs": stairs_picture(table)}
    paths = []
    for name, picture in pictures.items():
        paths.append(path.with_name(f"{path.stem}_{name}.svg"))
        replace_file(paths[-1], picture)
    replace_file(path, sweep_text(result, table, plots=[each.name for each in paths]).encode())
    return [path, *paths]


def sweep_text(result: SweepResult, table: LatencyTable, *, plots: Sequence[str]) -> str:
    """The page as text. plots: names of the files of both pictures."""
    parts = (
        _head(result),
        _gains(result, plots[0]),
        _parts(result),
        _stairs(table, plots[1]),
        _heat(result),
        _device(result, table),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(result: SweepResult) -> list[str]:
    own = given(result)
    steps = f"{min(result.loads):g} to {max(result.loads):g} times"
    return [
        TITLE,
        "",
        "Written by `sam2lite adaptive sweep`. A simulated device, driven by the latency table below: not a phone.",
        "",
        f"The scheduler (`sam2lite_mobile/runtime/scheduler.py`) settles a step of the load of {steps} within "
        f"{own.settling_worst} frames, {own.settling_mean:.1f} on average (methodology: {SETTLING_LIMIT}), and is "
        f"back at "
        f"the full size {own.regained:.1f} frames after the load is gone.",
        "",
    ]


def _gains(result: SweepResult, plot: str) -> list[str]:
    own, found = given(result), best(result)
    factors = ", ".join(
        f"{word} x {factor:g}" for word, factor in (("Kp", found.kp), ("Ki", found.ki), ("Kd", found.kd))
    )
    settling = sorted(each.score.settling_mean for each in result.gains)
    worse = sum(value > own.settling_mean for value in settling) / len(settling)
    return [
        "## Gains",
        "",
        f"Every gain of the methodology (Kp {result.tuning['kp']:g}, Ki {result.tuning['ki']:g}, Kd "
        f"{result.tuning['kd']:g}) times 0 to 4, with every other: {len(result.gains)} settings. The line has the "
        f"other "
        "two as they are; the middle half of all settings is grey.",
        "",
        f"![Frames until settled and changes of size against each gain]({plot})",
        "",
        "| gains | frames until settled | worst | within 15 | changes per 100 frames | on target |",
        "|---|---:|---:|---:|---:|---:|",
        _gain_row("the methodology's", own),
        _gain_row(f"the quickest that changes size and misses the target no more often: {factors}", found.score),
        "",
        f"{worse:.0%} of the settings settle later than the given gains.",
        "",
    ]


def _gain_row(name: str, score: Score) -> str:
    return (
        f"| {name} | {score.settling_mean:.1f} | {score.settling_worst} | {score.settled:.0%} | {score.changes:.2f} | "
        f"{score.on_target:.1%} |"
    )


def _parts(result: SweepResult) -> list[str]:
    rows = [
        f"| {each.name} | {each.settling_mean:.1f} | {_worst(each)} | {each.settled:.0%} | {each.overshoot:.2f} | "
        f"{each.changes:.2f} | {each.on_target:.1%} | {each.lost:.2f} | {each.regained:.1f} | "
        f"{_number(each.lost_flat)} |"
        for each in result.parts
    ]
    jitters = " and ".join(f"{jitter:.0%}" for jitter in result.jitters)
    return [
        "## Parts",
        "",
        "One part at a time changed or left out.",
        "",
        "| scheduler | settled | worst | within 15 | overshoot | changes | on target | lost | regained | lost, flat |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"- Steps of the load to {', '.join(f'{load:g}' for load in result.loads)}; noise of {jitters}; "
        f"{len(SEEDS)} seeds. "
        f"The target is {ROOM:g} times a full-size frame without load.",
        f"- settled, worst: frames from the step until the size stays within {ON_TARGET - 1:.0%} of the target, "
        f"noise left "
        f"out ({AFTER}: never). within 15: share of the steps.",
        "- overshoot: steps of 0.1 that the size went below where it ended.",
        f"- changes: of the size per 100 frames, on target: share of frames within {ON_TARGET - 1:.0%} of the "
        f"target, lost: "
        "mean steps below the largest size within that; all from frame 15 on.",
        "- regained: frames until the full size is back, after a step that takes the load away.",
        f"- lost, flat: on a device of which 70 % of a full-size frame is fixed work, with another load every "
        f"{FLAT_FRAMES} "
        "frames.",
        "",
    ]


def _stairs(table: LatencyTable, plot: str) -> list[str]:
    seen = stairs(table)
    settled = [frame for index, frame in enumerate(seen) if index % STAIR_FRAMES >= SETTLING_LIMIT]
    on_target = sum(frame.frame_ms <= ON_TARGET * STAIRS_TARGET_MS for frame in settled) / len(settled)
    return [
        "## Throttling",
        "",
        f"A full-size frame of 196, 230, 265, 300, 350 and 400 ms and back, {STAIR_FRAMES} frames each, target "
        f"{STAIRS_TARGET_MS:g} ms, noise 3 %: {on_target:.1%} of the frames from the {SETTLING_LIMIT}th of a step "
        f"on are on "
        "target.",
        "",
        f"![Frame times and sizes down and up the stairs]({plot})",
        "",
    ]


def _heat(result: SweepResult) -> list[str]:
    rows = [
        f"| {each.full_power:g} | {each.name} | {each.cooling_s:g} | {each.throttled:.0%} | {each.on_target:.1%} | "
        f"{each.scale:.2f} | {each.changes:.1f} |"
        for each in result.heat
    ]
    heating = result.heating
    return [
        "## Heat",
        "",
        f"{HEAT_MINUTES} minutes at the rate of a full-size frame, from cold, on a body of one heat capacity. Its "
        f"figures are "
        f"assumed, not measured: time constant {heating['time_constant_s']:g} s, times {heating['throttled']:g} as "
        f"long from "
        f"temperature 1 on until it is down to {heating['released']:g}. Power: the temperature it would come to if "
        f"it were "
        "always busy. The scheduler sees the temperature as headroom: fair from 0.85, serious from 0.95, critical "
        "from 1.",
        "",
        "| power | cap when fair, serious, critical | cooler after, s | throttled | on target | mean size / 512 | "
        "changes a minute |",
        "|---:|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
    ]


def _device(result: SweepResult, table: LatencyTable) -> list[str]:
    sizes = " | ".join(str(size) for size in table.sizes)
    stages = list(table.rows[0].stages_ms)
    lines = [
        "## The device",
        "",
        f"| ms | {sizes} |",
        f"|---|{'---:|' * len(table.sizes)}",
    ]
    full_window = {row.size: row for row in table.rows if row.window == max(each.window for each in table.rows)}
    short_window = {row.size: row for row in table.rows if row.window == min(each.window for each in table.rows)}
    for stage in stages:
        lines.append(f"| {stage} | " + " | ".join(f"{full_window[s].stages_ms[stage]:.1f}" for s in table.sizes) + " |")
    lines.append("| **frame** | " + " | ".join(f"{full_window[s].total_ms:.1f}" for s in table.sizes) + " |")
    lines.append("| frame, window of 2 | " + " | ".join(f"{short_window[s].total_ms:.1f}" for s in table.sizes) + " |")
    lines.append("| frame, wall clock | " + " | ".join(f"{full_window[s].wall_ms:.1f}" for s in table.sizes) + " |")
    engine = table.engine
    return [
        *lines,
        "",
        f"- {engine.name} {engine.version} {engine.precision} ({engine.detail}), threads: {engine.threads}, "
        f"{table.machine.processor}, {table.machine.cores} cores; {table.objects} object, {table.bank_tokens} "
        f"tokens; medians "
        f"of {table.frames} frames; {table.clip}",
        f"- timer: {table.timer}",
        f"- load average {_number(table.load_start)} before and {_number(table.load_end)} after: the machine was "
        f"{'busy, which the wall clock shows' if (table.load_start or 0) > 0.5 else 'quiet'}",
        f"- package {result.package_version}",
    ]


def _worst(score: Score) -> str:
    return "never" if score.settling_worst >= AFTER else str(score.settling_worst)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
