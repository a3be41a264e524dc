"""How a scheduler answers to a step of the load: how soon it is settled, how far it overshoots, how often it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from sam2lite_mobile.contract import SIZES, WINDOW_MAX
from sam2lite_mobile.evaluation.adaptive.device import SimulatedDevice, SimulatedFrame, simulate
from sam2lite_mobile.evaluation.adaptive.latency_table import LatencyTable
from sam2lite_mobile.runtime.scheduler import TUNING, Scheduler, Tuning

ON_TARGET = 1.1
"""On target: up to this share of the target time. The dead band, and as much again for what cannot be told in time."""
SETTLING_LIMIT = 15
"""Frames within which a step of the load has to be settled (methodology section 3.4)."""
ROOM = 1.05
"""Target over a full-size frame without load, so that the largest size is on target at first."""
BEFORE, AFTER = 30, 90
"""Frames before and after the step."""


@dataclass(frozen=True)
class StepResponse:
    """settling: frames from the step to the first one from which the level stays on target, `AFTER` if it never does.

    overshoot: steps of 0.1 that it went below where it ended. changes: of the level, per 100 frames once the limit of
    settling is over. on_target: share of the frames after the limit. lost: mean steps below the largest size that the
    load allows, in these frames. regained: frames from the step until that size is reached for good, `AFTER` if never.
    """

    settling: int
    overshoot: int
    changes: float
    on_target: float
    lost: float
    regained: int


def respond(
    table: LatencyTable,
    *,
    load: float,
    load_before: float = 1.0,
    jitter: float = 0.03,
    seed: int = 0,
    tuning: Tuning = TUNING,
    scheduler: type[Scheduler] = Scheduler,
) -> StepResponse:
    """The answer to a step from `load_before` to `load`; the target is `ROOM` times a full-size frame without load."""
    target_ms = ROOM * table.frame_ms(table.sizes[-1], WINDOW_MAX)
    device = SimulatedDevice(
        table, load=lambda index: load_before if index < BEFORE else load, jitter=jitter, seed=seed
    )
    best = SIZES.index(table.sizes[device.largest_within(BEFORE, ON_TARGET * target_ms)])
    frames = simulate(device, scheduler(target_ms, sizes=table.sizes, tuning=tuning), BEFORE + AFTER)
    return measured(frames[BEFORE:], target_ms=target_ms, best=best)


def measured(after: Sequence[SimulatedFrame], *, target_ms: float, best: int) -> StepResponse:
    """Figures of the frames from a step on. best: the largest size that the load allows, an index of `SIZES`."""
    late = [index for index, frame in enumerate(after) if frame.expected_ms > ON_TARGET * target_ms]
    levels = [SIZES.index(frame.decision.size) for frame in after]
    rest = after[SETTLING_LIMIT:]
    steady = levels[SETTLING_LIMIT:]
    changes = sum(first != second for first, second in pairwise(steady))
    return StepResponse(
        settling=late[-1] + 1 if late else 0,
        overshoot=max(levels[-1] - min(levels), 0),
        changes=100 * changes / len(steady),
        on_target=fmean(frame.frame_ms <= ON_TARGET * target_ms for frame in rest),
        regained=max((index + 1 for index, level in enumerate(levels) if level < best), default=0),
        lost=fmean(max(best - level, 0) for level in steady),
    )
