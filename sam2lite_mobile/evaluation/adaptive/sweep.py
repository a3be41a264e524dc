"""Sweeps of the scheduler on the simulated device: its gains, its other parts, and its answer to heat."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean

import msgspec
from msgspec import Struct

from sam2lite_mobile import __version__
from sam2lite_mobile.contract import FULL_SIZE, WINDOW_MAX
from sam2lite_mobile.evaluation.adaptive.device import Heating, SimulatedDevice, simulate
from sam2lite_mobile.evaluation.adaptive.latency_table import LatencyTable
from sam2lite_mobile.evaluation.adaptive.step_response import ON_TARGET, ROOM, SETTLING_LIMIT, StepResponse, respond
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine
from sam2lite_mobile.media.json_file import write_json
from sam2lite_mobile.runtime.scheduler import TUNING, Scheduler, SchedulerState, Tuning

SCHEMA_VERSION = 1
GAINS = ("kp", "ki", "kd")
FACTORS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What each gain is multiplied by."""
LOADS = (1.1, 1.2, 1.35, 1.5, 1.7, 1.9, 2.1, 2.4, 2.7, 3.0)
"""Factors of the steps, all of which the smallest size can follow."""
RELEASES = ((1.5, 0.85), (2.0, 0.85), (3.0, 0.85))
"""Load before and after a step that takes it away."""
JITTERS = (0.03, 0.08)
SEEDS = (1, 2)
HEAT_MINUTES = 20
POWERS = (1.2, 1.4, 1.7)
"""Temperature that a device comes to when it is busy all the time, 1.0 being where it throttles."""
FLAT_WORK = 7 / 3
"""Fixed work of the flat device, as a share of a full-size frame's own."""
FLAT_ROOM = 0.98
"""A size fits where it is expected within this share of the target: not so near that noise decides."""
FLAT_LOADS, FLAT_FRAMES = (0.7, 1.9, 1.1, 2.5, 0.9, 1.6, 2.2, 1.3, 0.8, 2.0, 1.0, 1.4), 60
"""Loads on the rest of its work, in turn, and frames of each."""
GIVEN = "as it is"


class Score(Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one tuning over all steps: see `StepResponse`. settled: share of the steps within the limit.

    regained: mean frames after a step that takes the load away. The others are over the steps that bring it. lost_flat:
    mean steps below the largest size that is expected to fit, under a load that changes every 60 frames, on a device
    whose frames are 70 % fixed work; of parts alone.
    """

    name: str
    settling_mean: float
    settling_worst: int
    settled: float
    overshoot: float
    changes: float
    on_target: float
    lost: float
    regained: float
    lost_flat: float | None


class GainScore(Struct, frozen=True, forbid_unknown_fields=True):
    """The score of the methodology's gains times a factor each."""

    kp: float
    ki: float
    kd: float
    score: Score


class HeatRun(Struct, frozen=True, forbid_unknown_fields=True):
    """Minutes on a device that heats up. Shares of the frames; scale: mean, 0.5..1; changes: of the size, a minute."""

    name: str
    cap_steps: list[int]
    full_power: float
    cooling_s: float
    throttled: float
    on_target: float
    scale: float
    changes: float


class SweepResult(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole sweep, and the table that the device was made of."""

    schema_version: int
    package_version: str
    engine: EngineInfo
    machine: Machine
    frame_ms: dict[str, float]
    loads: list[float]
    jitters: list[float]
    tuning: dict[str, float]
    gains: list[GainScore]
    parts: list[Score]
    heating: dict[str, float]
    heat: list[HeatRun]


class _WithoutCosts(Scheduler):
    """The loop alone: any size may be next."""

    def _bounds(self, state: SchedulerState, actual_ms: float) -> tuple[int, int]:
        return 0, max(self._cap(state), state.level)


class _AreaCosts(Scheduler):
    """Costs that never learn."""

    def _learned(self, state: SchedulerState, actual_ms: float) -> SchedulerState:
        return replace(state, left=None)


PARTS: tuple[tuple[str, Tuning, type[Scheduler]], ...] = (
    (GIVEN, TUNING, Scheduler),
    ("P alone", replace(TUNING, ki=0.0, kd=0.0), Scheduler),
    ("without I", replace(TUNING, ki=0.0), Scheduler),
    ("without D", replace(TUNING, kd=0.0), Scheduler),
    ("without costs", TUNING, _WithoutCosts),
    ("costs by area, not learned", TUNING, _AreaCosts),
    ("without dead band", replace(TUNING, dead_band=0.0), Scheduler),
    ("dead band 10 %", replace(TUNING, dead_band=0.1), Scheduler),
    ("without dwell", replace(TUNING, dwell_frames=0), Scheduler),
    ("dwell 20 frames", replace(TUNING, dwell_frames=20), Scheduler),
    ("room 100 %", replace(TUNING, room=1.0), Scheduler),
    ("room 90 %", replace(TUNING, room=0.9), Scheduler),
    ("urgent at 10 %", replace(TUNING, urgent_error=-0.1), Scheduler),
    ("urgent at 50 %", replace(TUNING, urgent_error=-0.5), Scheduler),
    ("half step 0.03", replace(TUNING, half_step=0.03), Scheduler),
)
"""Tunings and cut-down schedulers, to see what each part is worth."""

CAPS = {
    "no cap": (5, 5, 5, 5),
    "1.0, 1.0, 0.5": (5, 5, 5, 0),
    "1.0, 0.8, 0.5": (5, 5, 3, 0),
    "0.9, 0.8, 0.5": (5, 4, 3, 0),
    "0.9, 0.7, 0.5": (5, 4, 2, 0),
}
"""Caps by thermal level, as steps above 0.5; the name gives them for fair, serious and critical."""
COOLINGS_MS = (10_000.0, 30_000.0)


def sweep(table: LatencyTable, *, on_score: Callable[[], None] | None = None) -> SweepResult:
    """Every factor of every gain with every other, the parts, and the heat. The same table gives the same result."""
    gains = []
    for factors in product(FACTORS, repeat=len(GAINS)):
        kp, ki, kd = factors
        tuning = replace(TUNING, kp=TUNING.kp * kp, ki=TUNING.ki * ki, kd=TUNING.kd * kd)
        gains.append(GainScore(kp, ki, kd, score(table, name="", tuning=tuning)))
        if on_score is not None:
            on_score()
    parts = []
    for name, tuning, scheduler in PARTS:
        flat = lost_flat(table, tuning=tuning, scheduler=scheduler)
        figures = score(table, name=name, tuning=tuning, scheduler=scheduler)
        parts.append(msgspec.structs.replace(figures, lost_flat=flat))
        if on_score is not None:
            on_score()
    return SweepResult(
        schema_version=SCHEMA_VERSION,
        package_version=__version__,
        engine=table.engine,
        machine=table.machine,
        frame_ms={str(size): table.frame_ms(size, 8) for size in table.sizes},
        loads=list(LOADS),
        jitters=list(JITTERS),
        tuning={name: value for name, value in asdict(TUNING).items() if isinstance(value, float)},
        gains=gains,
        parts=parts,
        heating=asdict(Heating()),
        heat=[
            heat_run(table, name, cap_steps=steps, cooling_ms=cooling_ms, full_power=power)
            for power, (name, steps), cooling_ms in product(POWERS, CAPS.items(), COOLINGS_MS)
        ],
    )


def runs_of_a_sweep() -> int:
    """How often `sweep` calls `on_score`."""
    return len(list(product(FACTORS, repeat=len(GAINS)))) + len(PARTS)


def score(table: LatencyTable, *, name: str, tuning: Tuning = TUNING, scheduler: type[Scheduler] = Scheduler) -> Score:
    """The figures of a tuning over all steps, noises and seeds."""

    def answers(steps: Iterable[tuple[float, float]]) -> list[StepResponse]:
        return [
            respond(table, load=after, load_before=before, jitter=jitter, seed=seed, tuning=tuning, scheduler=scheduler)
            for (before, after), jitter, seed in product(steps, JITTERS, SEEDS)
        ]

    steps = answers((1.0, load) for load in LOADS)
    return Score(
        name=name,
        settling_mean=_rounded(each.settling for each in steps),
        settling_worst=max(each.settling for each in steps),
        settled=_rounded(each.settling <= SETTLING_LIMIT for each in steps),
        overshoot=_rounded(each.overshoot for each in steps),
        changes=_rounded(each.changes for each in steps),
        on_target=_rounded(each.on_target for each in steps),
        lost=_rounded(each.lost for each in steps),
        lost_flat=None,
        regained=_rounded(each.regained for each in answers(RELEASES)),
    )


def lost_flat(table: LatencyTable, *, tuning: Tuning, scheduler: type[Scheduler]) -> float:
    """Steps lost on the flat device; see `Score`. Each load's first 30 frames are left out."""
    full_ms = table.frame_ms(table.sizes[-1], WINDOW_MAX)
    overhead_ms = FLAT_WORK * full_ms
    target_ms = ROOM * (full_ms + overhead_ms)
    device = SimulatedDevice(
        table, load=lambda index: FLAT_LOADS[index // FLAT_FRAMES], jitter=JITTERS[0], overhead_ms=overhead_ms, seed=1
    )
    seen = simulate(device, scheduler(target_ms, sizes=table.sizes, tuning=tuning), len(FLAT_LOADS) * FLAT_FRAMES)
    lost = []
    for index, frame in enumerate(seen):
        if index % FLAT_FRAMES >= FLAT_FRAMES // 2:
            level = table.sizes.index(frame.decision.size)
            lost.append(max(device.largest_within(index, FLAT_ROOM * target_ms) - level, 0))
    return _rounded(lost)


def heat_run(
    table: LatencyTable, name: str, *, cap_steps: tuple[int, ...], cooling_ms: float, full_power: float
) -> HeatRun:
    """Minutes at the rate of a full-size frame on a device that heats up, from cold."""
    target_ms = ROOM * table.frame_ms(table.sizes[-1], WINDOW_MAX)
    heating = Heating(full_power=full_power)
    device = SimulatedDevice(table, jitter=JITTERS[0], period_ms=target_ms, heating=heating, seed=1)
    tuning = replace(TUNING, cap_steps=cap_steps, cooling_ms=cooling_ms)
    frames = round(HEAT_MINUTES * 60_000 / target_ms)
    seen = simulate(device, Scheduler(target_ms, sizes=table.sizes, tuning=tuning), frames)
    moves = sum(one.decision.size != other.decision.size for one, other in pairwise(seen))
    return HeatRun(
        name=name,
        cap_steps=list(cap_steps),
        full_power=full_power,
        cooling_s=cooling_ms / 1000,
        throttled=_rounded(frame.throttled for frame in seen),
        on_target=_rounded(frame.frame_ms <= ON_TARGET * target_ms for frame in seen),
        scale=_rounded(frame.decision.size / FULL_SIZE for frame in seen),
        changes=moves / HEAT_MINUTES,
    )


def _rounded(values: Iterable[float]) -> float:
    """The mean, to four digits, which is more than the figures are good for."""
    return round(fmean(values), 4)


def given(result: SweepResult) -> Score:
    """The score of the gains as they are."""
    return next(each.score for each in result.gains if each.kp == each.ki == each.kd == 1.0)


def best(result: SweepResult) -> GainScore:
    """The gains that settle soonest, of those that change size, and miss the target, no more often than the given.

    Of equal ones the first in the order of the factors.
    """
    reference = given(result)
    allowed = [
        each
        for each in result.gains
        if each.score.changes <= reference.changes
        and each.score.on_target >= reference.on_target
        and each.score.overshoot <= reference.overshoot
    ]
    return min(allowed, key=lambda each: each.score.settling_mean)


def write_sweep(path: Path, result: SweepResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    write_json(path, result)
