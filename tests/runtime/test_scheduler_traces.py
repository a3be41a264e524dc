"""What holds for the scheduler on any trace: thousands of them, the same in every run."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.runtime.scheduler import Measurement, Reason, Scheduler
from tests.runtime.paced_device import area_cost, most_changes, run_paced, settling, sizes_of

SETTLING_LIMIT = 15
many = settings(max_examples=400)

size_sets = st.sets(st.sampled_from(SIZES), min_size=1).map(lambda chosen: tuple(sorted(chosen)))
fixed_shares = st.floats(0.0, 0.6)
seeds = st.integers(0, 2**32 - 1)
wild_frames = st.lists(
    st.builds(
        Measurement,
        frame_ms=st.one_of(st.floats(0, 500), st.floats(0, 1e6), st.just(0.0)),
        time_ms=st.floats(0, 5000),  # a step from the last one; see below
        thermal_level=st.integers(0, 3),
        headroom=st.floats(allow_nan=True, allow_infinity=True),
        counts=st.booleans(),
    ),
    max_size=80,
)


@st.composite
def device_costs(draw: st.DrawFn) -> Callable[[int], float]:
    """A fixed share, and sizes that are up to 5 % better or worse than their area, largest 1."""
    fixed = draw(fixed_shares)
    uneven = {size: draw(st.floats(0.95, 1.05)) for size in SIZES[:-1]} | {SIZES[-1]: 1.0}
    return lambda size: area_cost(size, fixed=fixed) * uneven[size]


@many
@given(wild_frames, size_sets, st.floats(1, 1000))
def test_any_measurements_leave_size_window_and_sums_in_range(
    frames: list[Measurement], sizes: tuple[int, ...], target_ms: float
) -> None:
    scheduler = Scheduler(target_ms, sizes=sizes)
    time_ms = 0.0
    for frame in frames:
        time_ms += frame.time_ms
        decision = scheduler.observe(
            Measurement(frame.frame_ms, time_ms, frame.thermal_level, frame.headroom, frame.counts)
        )
        assert decision.size in sizes
        assert 2 <= decision.window <= 8
        assert 0.5 <= decision.scale <= 1.0
        assert abs(scheduler.state.integral) <= 100
        assert scheduler.state.costs[-1] == 1.0
        for (a, b), (small, large) in zip(
            itertools.pairwise(scheduler.state.costs), itertools.pairwise(sizes), strict=True
        ):
            assert a <= b * (1 + 1e-12)
            assert b <= a * (large / small) ** 2 * (1 + 1e-12)


@many
@given(
    device_costs(), size_sets, st.floats(0.5, 1.0), st.floats(0.5, 8.0), st.floats(0, 0.03), seeds, st.integers(3, 60)
)
def test_any_step_that_a_size_can_follow_settles_within_15_frames(
    cost: Callable[[int], float],
    sizes: tuple[int, ...],
    before: float,
    after: float,
    jitter: float,
    seed: int,
    quiet: int,
) -> None:
    assume(after * cost(sizes[0]) <= 1.0)
    scheduler = Scheduler(100.0, sizes=sizes)
    seen = run_paced(scheduler, [before] * quiet + [after] * 80, cost=cost, jitter=jitter, seed=seed)
    assert settling(seen[quiet:]) <= SETTLING_LIMIT


@many
@given(
    device_costs(),
    size_sets,
    st.lists(st.floats(0.3, 4.0), min_size=2, max_size=4),
    st.floats(0, 0.03),
    seeds,
)
def test_once_settled_the_size_changes_at_most_once_in_10_frames(
    cost: Callable[[int], float], sizes: tuple[int, ...], loads: list[float], jitter: float, seed: int
) -> None:
    scheduler = Scheduler(100.0, sizes=sizes)
    length = 70
    trace = [load for load in loads for _ in range(length)]
    seen = run_paced(scheduler, trace, cost=cost, jitter=jitter, seed=seed)
    for start in range(0, len(seen), length):
        assert most_changes(sizes_of(seen[start + SETTLING_LIMIT : start + length])) <= 1


@many
@given(device_costs(), size_sets, st.floats(1.2, 6.0), st.floats(0.3, 0.85), st.floats(0, 0.03), seeds)
def test_full_size_comes_back_within_80_frames_after_the_load(
    cost: Callable[[int], float], sizes: tuple[int, ...], load: float, quiet: float, jitter: float, seed: int
) -> None:
    scheduler = Scheduler(100.0, sizes=sizes)
    seen = run_paced(scheduler, [load] * 60 + [quiet] * 80, cost=cost, jitter=jitter, seed=seed)
    assert scheduler.decision.size == sizes[-1]
    assert settling(seen[60:]) <= SETTLING_LIMIT


@many
@given(device_costs(), size_sets, st.floats(5.0, 20.0), st.integers(40, 400))
def test_a_long_overload_leaves_the_state_of_a_short_one(
    cost: Callable[[int], float], sizes: tuple[int, ...], load: float, longer: int
) -> None:
    short, long = Scheduler(100.0, sizes=sizes), Scheduler(100.0, sizes=sizes)
    run_paced(short, [load] * 40, cost=cost)
    run_paced(long, [load] * longer, cost=cost)
    for field in ("level", "scale", "integral", "costs"):
        assert getattr(short.state, field) == getattr(long.state, field)


@many
@given(device_costs(), st.lists(st.floats(0, 1e5), min_size=1, max_size=20), st.floats(0.5, 1.0))
def test_stalls_three_frames_apart_change_no_size(
    cost: Callable[[int], float], stalls: list[float], load: float
) -> None:
    scheduler = Scheduler(100.0)
    time_ms = 0.0
    for stall in stalls:
        for extra in (0.0, 0.0, stall):
            frame_ms = 100.0 * load * cost(scheduler.decision.size) + extra
            time_ms += frame_ms
            scheduler.observe(Measurement(frame_ms, time_ms))
            assert scheduler.decision.size == 512


@many
@given(
    device_costs(),
    st.floats(0.8, 1.0),
    st.floats(1.0, 3.0),
    st.integers(10, 200),
    st.floats(0, 0.03),
    seeds,
)
def test_a_ramp_is_followed(
    cost: Callable[[int], float], low: float, high: float, frames: int, jitter: float, seed: int
) -> None:
    assume(high * cost(256) <= 1.0)
    scheduler = Scheduler(100.0)
    loads = [low + (high - low) * index / frames for index in range(frames)] + [high] * 60
    seen = run_paced(scheduler, loads, cost=cost, jitter=jitter, seed=seed)
    assert settling(seen[frames:]) <= SETTLING_LIMIT
    sizes = sizes_of(seen)
    assert sizes == sorted(sizes, reverse=True)  # never up on the way


@many
@given(st.floats(0.0, 0.3), st.integers(20, 60), st.floats(0, 0.03), seeds)
def test_a_throttling_staircase_from_196_to_400_ms_is_followed_down_and_up(
    fixed: float, length: int, jitter: float, seed: int
) -> None:
    stairs = [196, 230, 265, 300, 350, 400]  # ms of a full-size frame
    trace = [ms / 200 for ms in [*stairs, *reversed(stairs)] for _ in range(length)]
    scheduler = Scheduler(200.0)
    seen = run_paced(scheduler, trace, cost=lambda size: area_cost(size, fixed=fixed), target_ms=200.0, jitter=jitter)
    for start in range(0, len(seen), length):
        assert settling(seen[start : start + length]) <= SETTLING_LIMIT
    assert len(set(sizes_of(seen))) >= 3


@many
@given(wild_frames, st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_a_device_of_twice_the_speed_with_half_the_target_is_the_same_device(
    frames: list[Measurement], factor: float
) -> None:
    one, other = Scheduler(100.0), Scheduler(100.0 * factor)
    time_ms = 0.0
    for frame in frames:
        time_ms += frame.frame_ms  # no pauses: they are in absolute time
        first = one.observe(Measurement(frame.frame_ms, time_ms, counts=frame.counts))
        second = other.observe(Measurement(frame.frame_ms * factor, time_ms * factor, counts=frame.counts))
        assert (first.size, first.scale, first.output, first.reason) == (
            second.size,
            second.scale,
            second.output,
            second.reason,
        )


@many
@given(size_sets, st.floats(1.0, 4.0), st.lists(st.floats(200, 3000), min_size=1, max_size=6))
def test_slow_first_frames_of_a_size_cost_no_other_size(
    sizes: tuple[int, ...], load: float, warm_ups: list[float]
) -> None:
    def final_sizes(spikes: list[float]) -> list[int]:
        scheduler = Scheduler(100.0, sizes=sizes)
        time_ms, seen, fresh = 0.0, [], True
        left = list(spikes)
        for _ in range(60):
            size = scheduler.decision.size
            frame_ms = 100.0 * load * area_cost(size, fixed=0.1)
            if fresh and left:
                frame_ms += left.pop()
            time_ms += frame_ms
            fresh = scheduler.observe(Measurement(frame_ms, time_ms)).size != size
            seen.append(size)
        return seen

    assert final_sizes(warm_ups) == final_sizes([])


def test_reasons_of_a_whole_trace_cover_what_can_happen() -> None:
    scheduler = Scheduler(100.0)
    seen = run_paced(scheduler, [1.0] * 10 + [9.0] * 40 + [1.3] * 60 + [0.5] * 60)
    assert {frame.decision.reason for frame in seen} >= {
        Reason.START,
        Reason.MEASURING,
        Reason.ON_TARGET,
        Reason.SLOWER,
        Reason.FASTER,
        Reason.LOWEST,
        Reason.NO_ROOM,
        Reason.FULL,
    }
