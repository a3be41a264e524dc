"""The scheduler: which input size and memory window the next frame gets, so that frames keep a target time.

The PID controller of the methodology (section 3.2) with its gains, on float64:

    e_t = (target - actual) / target                 clipped to -1..1; a dead band around 0
    tau = Kp e_t + Ki sum(e) + Kd (e_t - e_(t-1))
    scale = scale + tau                              0.5..1.0; a level is a multiple of 0.1

What each part adds, and why it is there:

- **Relative error.** With e relative, tau has the size that the methodology's steps have: a frame that takes twice the
  target makes tau = -0.1 - 0.01 - 0.05, one step and a half of 0.1. So tau is read as the change of the scale, which
  sums it up. (In milliseconds the same gains would mean other things on every device.)
- **Actual.** The median of the last three frames at this size; of two, the faster one; of one, none: a single stall
  or a first run of a size moves nothing.
- **Dead band.** Within 5 % of the target nothing is corrected and the sum of errors is 0; so it is when the error
  changes its sign. Nor does the sum grow where the scale cannot follow (at a bound): it never winds up.
- **Half a step.** The size changes when the scale is half a step from the size in use. Then the scale sits on the
  new one, the median starts anew, and no difference of errors is taken across the change, which the loop made itself.
- **Dwell.** 10 frames at a size before a larger one; 10 after a larger one before a smaller one, unless the target is
  missed by more than 25 %. A smaller size is otherwise free after the two frames that a measurement needs.
- **Costs** (`level_costs.py`), the only feed-forward. Time against size is steep and differs by device, so a step of
  0.1 may be half of what is needed or twice. The remembered cost of each size bounds a move: up to sizes that are
  expected within 95 % of the target, down to the largest that is expected to reach it. The PID decides whether, when
  and in which direction; without costs it would try a larger size every few frames, fail, and come back.
- **Cap** (`thermal_cap.py`): a hot device gives up size before it throttles.
- **Window.** 2 to 8 frames, linear in the size, as the methodology has it. It is no lever of its own: graphs have
  static shapes, so a frame takes the same time with any window, and beside one conditioning frame the bank holds the
  last frame's tokens alone (J&F of Nano on dev is the same with 2 and 8, at 256 and at 512 px).

docs/scheduler.md has what each part is worth, on a simulated device.

A frame on which the user prompts runs at the largest size and window, and its time is not used. There is no clock: time
stamps are passed in. A call is a function of the state and the measurement, in the order written here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite, nan

from sam2lite_mobile.contract import SIZES, WINDOW_MAX, WINDOW_MIN
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.level_costs import Costs, area_costs, expected_ms, learned
from sam2lite_mobile.runtime.thermal_cap import CAP_STEPS, COOL, COOLING_MS, CRITICAL, NOMINAL, Heat, heated, reading

LOWEST_SCALE, SCALE_STEP, FULL_STEPS = 0.5, 0.1, len(SIZES) - 1
"""Scale of `SIZES[i]`: 0.5 + 0.1 i."""
ERROR_LIMIT = 1.0
"""Bound of the error: a frame that takes twice the target or more counts as twice, so that a hang moves little."""
MEDIAN_FRAMES = 3
PAUSE_MS = 1000.0
"""Time between two frames, beyond the frame's own, after which the last frames say nothing about the next."""


@dataclass(frozen=True)
class Tuning:
    """Gains and bounds of the loop. docs/scheduler.md holds the sweeps that they were chosen by; units are shares.

    dwell_frames, urgent_error: see "Dwell" above. room: share of the target within which a larger size is expected.
    cap_steps, cooling_ms: see `thermal_cap.py`.
    """

    kp: float = 0.1
    ki: float = 0.01
    kd: float = 0.05
    dead_band: float = 0.05
    half_step: float = 0.05
    dwell_frames: int = 10
    urgent_error: float = -0.25
    room: float = 0.95
    cap_steps: tuple[int, ...] = CAP_STEPS
    cooling_ms: float = COOLING_MS


TUNING = Tuning()


class Reason(StrEnum):
    """Why the next frame has its size."""

    START = "start"
    NOT_COUNTED = "frame not counted"
    MEASURING = "new size is being measured"
    ON_TARGET = "on target"
    CORRECTING = "correcting, not yet half a step"
    DWELL = "size was changed a moment ago"
    NO_ROOM = "a larger size is expected to be too slow"
    FULL = "largest size allowed"
    LOWEST = "smallest size offered, still too slow"
    SLOWER = "too slow: smaller size"
    FASTER = "time to spare: larger size"
    HEAT = "heat: smaller size"


@dataclass(frozen=True)
class Measurement:
    """What a frame cost. frame_ms: all of it, finite, >= 0. time_ms: when it ended, finite, never before the last one.

    thermal_level: 0 nominal, 1 fair, 2 serious, 3 critical. headroom: any float, NaN where nobody knows. counts: False
    for a frame that did not do the usual work: the user prompted on it, or there was no object.
    """

    frame_ms: float
    time_ms: float
    thermal_level: int = NOMINAL
    headroom: float = nan
    counts: bool = True


@dataclass(frozen=True)
class Decision:
    """Size R and window of the next frame, and why.

    actual_ms, error, integral (sum of errors), derivative, output (tau): of the step that led here, None where the
    loop made none. scale: 0.5..1.0. thermal: 0..3, what the cap follows.
    """

    size: int
    window: int
    reason: Reason
    scale: float
    thermal: int
    actual_ms: float | None = None
    error: float | None = None
    integral: float | None = None
    derivative: float | None = None
    output: float | None = None


@dataclass(frozen=True)
class SchedulerState:
    """All that a call depends on beside its arguments. level: index into the offered sizes.

    recent_ms: up to three last frames at this level. frames: frames at this level. raised: it was entered from below.
    left: level and time before the last change, until the costs have learned from it. time_ms: last time stamp.
    """

    level: int
    scale: float
    costs: Costs
    integral: float = 0.0
    last_error: float | None = None
    recent_ms: tuple[float, ...] = ()
    frames: int = 0
    raised: bool = False
    left: tuple[int, float] | None = None
    heat: Heat = COOL
    time_ms: float | None = None


class Scheduler:
    """Chooses size and window frame by frame.

    target_ms: time that a frame may take, finite, > 0. sizes: those that the package has, ascending, of
    `contract.SIZES`. Raises ContractError for another target or other sizes.
    """

    def __init__(self, target_ms: float, *, sizes: tuple[int, ...] = SIZES, tuning: Tuning = TUNING) -> None:
        if not isfinite(target_ms) or target_ms <= 0:
            raise _error("target", "finite milliseconds > 0", target_ms, "pass 1000 / frames per second")
        if not sizes or list(sizes) != sorted(set(sizes)) or not set(sizes) <= set(SIZES):
            raise _error("sizes", f"some of {SIZES}, ascending", sizes, "pass the sizes of the package")
        self._target_ms = target_ms
        self._sizes = tuple(sizes)
        self._steps = tuple(SIZES.index(size) for size in sizes)
        self._scales = tuple(LOWEST_SCALE + SCALE_STEP * steps for steps in self._steps)
        self._areas = area_costs(self._sizes)
        self._tuning = tuning
        self.reset()

    @property
    def state(self) -> SchedulerState:
        """The whole state, for traces."""
        return self._state

    @property
    def decision(self) -> Decision:
        """Size and window of the next frame, if nobody prompts on it."""
        return self._decision

    @property
    def prompted(self) -> Decision:
        """Size and window of the next frame if the user prompts on it: the largest."""
        return replace(self._decision, size=self._sizes[-1], window=WINDOW_MAX, reason=Reason.NOT_COUNTED)

    def reset(self) -> None:
        """Forget everything: the next frame has the largest size."""
        self._state = SchedulerState(len(self._sizes) - 1, self._scales[-1], self._areas)
        self._decision = self._decided(self._state, Reason.START)

    def observe(self, measurement: Measurement) -> Decision:
        """The decision for the next frame, after a frame that ran at the size decided before (or was prompted).

        Raises ContractError, and leaves the state as it was, for a measurement that is not one.
        """
        self._check(measurement)
        state = self._warmed(self._state, measurement)
        if self._cap(state) < state.level:
            state, decision = self._capped(state)
        elif not measurement.counts:
            decision = self._decided(state, Reason.NOT_COUNTED)
        else:
            state, decision = self._stepped(state, measurement.frame_ms)
        self._state, self._decision = state, decision
        return decision

    def _check(self, given: Measurement) -> None:
        if not isfinite(given.frame_ms) or given.frame_ms < 0:
            raise _error("frame time", "finite milliseconds >= 0", given.frame_ms, "drop this measurement")
        last = self._state.time_ms
        if not isfinite(given.time_ms) or (last is not None and given.time_ms < last):
            raise _error("time stamp", f"finite, from {last} on", given.time_ms, "pass a monotonic clock's")
        if not NOMINAL <= given.thermal_level <= CRITICAL:
            raise _error("thermal level", "0 to 3", given.thermal_level, "map the system's levels onto four")

    def _warmed(self, state: SchedulerState, given: Measurement) -> SchedulerState:
        """The state with heat and time of a measurement; after a pause, without what the last frames said."""
        level = reading(given.thermal_level, given.headroom)
        heat = heated(state.heat, level, given.time_ms, cooling_ms=self._tuning.cooling_ms)
        if state.time_ms is not None and given.time_ms - state.time_ms - given.frame_ms > PAUSE_MS:
            state = replace(state, integral=0.0, last_error=None, recent_ms=(), left=None)
        return replace(state, heat=heat, time_ms=given.time_ms)

    def _cap(self, state: SchedulerState) -> int:
        """The highest level that the heat allows; the lowest one always is."""
        allowed = [
            level for level, steps in enumerate(self._steps) if steps <= self._tuning.cap_steps[state.heat.level]
        ]
        return allowed[-1] if allowed else 0

    def _capped(self, state: SchedulerState) -> tuple[SchedulerState, Decision]:
        actual_ms = _median(state.recent_ms) if len(state.recent_ms) > 1 else None
        state = self._moved(state, self._cap(state), actual_ms)
        return state, self._decided(state, Reason.HEAT)

    def _stepped(self, state: SchedulerState, frame_ms: float) -> tuple[SchedulerState, Decision]:
        """One step of the loop."""
        recent = (*state.recent_ms, frame_ms)[-MEDIAN_FRAMES:]
        state = replace(state, recent_ms=recent, frames=state.frames + 1)
        if len(recent) < 2:
            return state, self._decided(state, Reason.MEASURING)
        actual_ms = _median(recent)
        if state.left is not None and len(recent) == MEDIAN_FRAMES:
            state = self._learned(state, actual_ms)
        tuning = self._tuning
        error = (self._target_ms - actual_ms) / self._target_ms
        error = min(max(error, -ERROR_LIMIT), ERROR_LIMIT)
        derivative = 0.0 if state.last_error is None else error - state.last_error
        floor, ceiling = self._bounds(state, actual_ms)
        if -tuning.dead_band <= error <= tuning.dead_band:
            integral = output = 0.0
        else:
            summed = state.integral if state.integral * error > 0 else 0.0
            stuck = state.scale >= self._scales[ceiling] if error > 0 else state.scale <= self._scales[floor]
            integral = summed if stuck else summed + error
            output = tuning.kp * error + tuning.ki * integral + tuning.kd * derivative
        scale = min(max(state.scale + output, self._scales[floor]), self._scales[ceiling])
        state = replace(state, integral=integral, last_error=error, scale=scale)
        state, reason = self._placed(state, actual_ms, error, ceiling)
        return state, replace(
            self._decided(state, reason),
            actual_ms=actual_ms,
            error=error,
            integral=integral,
            derivative=derivative,
            output=output,
        )

    def _bounds(self, state: SchedulerState, actual_ms: float) -> tuple[int, int]:
        """Levels between which the scale may move: see "Costs" in the module's docstring."""
        level, cap = state.level, self._cap(state)
        floor = 0
        ceiling = level
        for other in range(len(self._sizes)):
            expected = expected_ms(state.costs, level=level, level_ms=actual_ms, other=other)
            if other < level and expected <= self._target_ms:
                floor = other
            if level < other <= cap and expected <= self._tuning.room * self._target_ms:
                ceiling = other
        return floor, ceiling

    def _placed(
        self, state: SchedulerState, actual_ms: float, error: float, ceiling: int
    ) -> tuple[SchedulerState, Reason]:
        """The state at the level that its scale asks for, if it may change now, and why."""
        tuning, level = self._tuning, state.level
        seat, dwelling = self._scales[level], state.frames < tuning.dwell_frames
        near = [other for other, scale in enumerate(self._scales) if scale <= state.scale + tuning.half_step]
        if level > 0 and state.scale <= seat - tuning.half_step:
            if state.raised and dwelling and error > tuning.urgent_error:
                return state, Reason.DWELL
            target = min(level - 1, near[-1] if near else 0)
            return self._moved(state, target, actual_ms), Reason.SLOWER
        if ceiling > level and state.scale >= seat + tuning.half_step:
            if dwelling:
                return state, Reason.DWELL
            target = min(ceiling, max(level + 1, near[-1]))
            return replace(self._moved(state, target, actual_ms), raised=True), Reason.FASTER
        if -tuning.dead_band <= error <= tuning.dead_band:
            return state, Reason.ON_TARGET
        if error < 0:
            return state, Reason.CORRECTING if level > 0 else Reason.LOWEST
        if ceiling > level:
            return state, Reason.CORRECTING
        return state, Reason.FULL if level == self._cap(state) else Reason.NO_ROOM

    def _moved(self, state: SchedulerState, level: int, actual_ms: float | None) -> SchedulerState:
        """The state on another level, with nothing measured there yet. The sum of errors goes along."""
        left = None if actual_ms is None or actual_ms == 0 else (state.level, actual_ms)
        return replace(
            state,
            level=level,
            scale=self._scales[level],
            last_error=None,
            recent_ms=(),
            frames=0,
            raised=False,
            left=left,
        )

    def _learned(self, state: SchedulerState, actual_ms: float) -> SchedulerState:
        if state.left is None:
            return state
        before, before_ms = state.left
        costs = learned(
            state.costs, self._areas, before=before, before_ms=before_ms, after=state.level, after_ms=actual_ms
        )
        return replace(state, costs=costs, left=None)

    def _decided(self, state: SchedulerState, reason: Reason) -> Decision:
        steps = self._steps[state.level]
        return Decision(self._sizes[state.level], window_at(steps), reason, state.scale, state.heat.level)


def window_at(steps: int) -> int:
    """Memory window at a size of so many steps above the smallest, 0..5: 2, 3, 4, 6, 7, 8 frames.

    Linear between both ends, halves rounded up, in integers: (2 x 6 x steps + 5) // (2 x 5) more than 2.
    """
    span = WINDOW_MAX - WINDOW_MIN
    return WINDOW_MIN + (2 * span * steps + FULL_STEPS) // (2 * FULL_STEPS)


def _median(recent_ms: tuple[float, ...]) -> float:
    """The middle one of three, the smaller one of two."""
    ordered = sorted(recent_ms)
    return ordered[(len(ordered) - 1) // 2]


def _error(what: str, expected: object, got: object, do: str) -> ContractError:
    return ContractError(explain(what, expected=expected, got=got, do=do))
