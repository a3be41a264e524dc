"""Pictures of the scheduler: what its gains do, and one answer to a throttling device."""

from __future__ import annotations

import io
from statistics import quantiles
from typing import TYPE_CHECKING

from sam2lite_mobile.contract import SIZES, WINDOW_MAX
from sam2lite_mobile.evaluation.adaptive.device import SimulatedDevice, SimulatedFrame, simulate
from sam2lite_mobile.evaluation.adaptive.latency_table import LatencyTable
from sam2lite_mobile.evaluation.adaptive.step_response import ON_TARGET
from sam2lite_mobile.evaluation.adaptive.sweep import FACTORS, GAINS, SweepResult
from sam2lite_mobile.runtime.scheduler import Scheduler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAIN_WORDS = {"kp": "Kp", "ki": "Ki", "kd": "Kd"}
BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#888888"
STAIRS_MS = (196.0, 230.0, 265.0, 300.0, 350.0, 400.0)
"""Full-size frames of a device that throttles step by step, and cools again."""
STAIR_FRAMES = 30
STAIRS_TARGET_MS = 200.0


def gains_picture(result: SweepResult, *, form: str = "svg") -> bytes:
    """Settling time and changes of size against each gain, the other two as they are; grey: half of all others."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.6), layout="constrained", dpi=100)
    rows = figure.subplots(2, len(GAINS), sharex=True, sharey="row")
    places = {factor: place for place, factor in enumerate(FACTORS)}
    measures = (("settling_mean", "frames until settled"), ("changes", "changes per 100 frames"))
    for row, (measure, label) in zip(rows, measures, strict=True):
        for axes, gain in zip(row, GAINS, strict=True):
            others = [name for name in GAINS if name != gain]
            bands = [
                quantiles([getattr(each.score, measure) for each in result.gains if getattr(each, gain) == factor])
                for factor in FACTORS
            ]
            low, high = [band[0] for band in bands], [band[-1] for band in bands]
            axes.fill_between(range(len(FACTORS)), low, high, color=GREY, alpha=0.25, linewidth=0)
            line = [each for each in result.gains if all(getattr(each, name) == 1.0 for name in others)]
            axes.plot(
                [places[getattr(each, gain)] for each in line],
                [getattr(each.score, measure) for each in line],
                marker="o",
                markersize=4,
                linewidth=1.6,
                color=BLUE,
            )
            axes.axvline(places[1.0], color=RED, linewidth=1, linestyle=":")
            axes.set_xticks(list(places.values()), [f"{factor:g}" for factor in FACTORS])
            axes.grid(axis="y", alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(label)
    for axes, gain in zip(rows[-1], GAINS, strict=True):
        axes.set_xlabel(f"{GAIN_WORDS[gain]} x {result.tuning[gain]:g}")
    rows[0][0].set_ylim(bottom=0)
    rows[1][0].set_ylim(bottom=0)
    return _saved(figure, form=form, salt="gains")


def stairs(table: LatencyTable) -> list[SimulatedFrame]:
    """A simulated run down and up the stairs; the load scales the table so that a full-size frame takes each step."""
    full_ms = table.frame_ms(table.sizes[-1], WINDOW_MAX)
    steps = [*STAIRS_MS, *reversed(STAIRS_MS)]
    device = SimulatedDevice(table, load=lambda index: steps[index // STAIR_FRAMES] / full_ms, jitter=0.03, seed=1)
    return simulate(device, Scheduler(STAIRS_TARGET_MS, sizes=table.sizes), len(steps) * STAIR_FRAMES)


def stairs_picture(table: LatencyTable, *, form: str = "svg") -> bytes:
    """Frame times and sizes of `stairs`: what a full-size frame would take, what frames took, and the target."""
    from matplotlib.figure import Figure

    seen = stairs(table)
    figure = Figure(figsize=(8.5, 4.6), layout="constrained", dpi=100)
    times, sizes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    full = [ms for ms in (*STAIRS_MS, *reversed(STAIRS_MS)) for _ in range(STAIR_FRAMES)]
    times.step(range(len(full)), full, where="post", color=GREY, linewidth=1.2, label="a full-size frame")
    times.plot([frame.frame_ms for frame in seen], color=BLUE, linewidth=1, label="under the scheduler")
    times.axhline(STAIRS_TARGET_MS, color=RED, linewidth=1, linestyle=":", label="target")
    times.axhspan(0, ON_TARGET * STAIRS_TARGET_MS, color=RED, alpha=0.04, linewidth=0)
    times.set_ylim(0, 1.2 * max(full))
    times.set_ylabel("ms a frame")
    times.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")
    sizes.step(range(len(seen)), [frame.decision.size for frame in seen], where="post", color=BLUE, linewidth=1.4)
    sizes.set_yticks(list(SIZES))
    sizes.set_ylabel("input size, px")
    sizes.set_xlabel("frame")
    for axes in (times, sizes):
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return _saved(figure, form=form, salt="stairs")


def _saved(figure: Figure, *, form: str, salt: str) -> bytes:
    """The bytes of a figure; equal figures give equal bytes."""
    import matplotlib

    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else None)
    return picture.getvalue()
