"""The scheduler, step by step by hand."""

from __future__ import annotations

from math import inf, nan

import pytest

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.scheduler import Measurement, Reason, Scheduler, window_at
from tests.runtime.paced_device import run_paced, sizes_of


def feed(scheduler: Scheduler, *frames_ms: float, **options: object) -> None:
    for frame_ms in frames_ms:
        time_ms = (scheduler.state.time_ms or 0.0) + frame_ms
        scheduler.observe(Measurement(frame_ms, time_ms, **options))  # type: ignore[arg-type]


def test_first_frame_has_the_largest_size_and_window() -> None:
    decision = Scheduler(100.0, sizes=(256, 416)).decision
    assert (decision.size, decision.window, decision.reason) == (416, 6, Reason.START)
    assert Scheduler(100.0).decision.window == 8


def test_windows_go_from_2_to_8_with_the_size() -> None:
    assert [window_at(steps) for steps in range(6)] == [2, 3, 4, 6, 7, 8]


def test_output_is_the_sum_of_three_terms_of_the_relative_error() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 100.0, 120.0, 120.0)  # the median is 100, then 120
    decision = scheduler.decision
    assert (decision.actual_ms, decision.error, decision.derivative) == (120.0, -0.2, -0.2)
    assert decision.integral == -0.2
    assert decision.output == 0.1 * -0.2 + 0.01 * -0.2 + 0.05 * -0.2  # -0.032
    assert decision.scale == 1.0 + decision.output
    assert (decision.size, decision.reason) == (512, Reason.CORRECTING)
    feed(scheduler, 120.0)
    decision = scheduler.decision
    assert (decision.derivative, decision.integral, decision.output) == (0.0, -0.4, 0.1 * -0.2 + 0.01 * -0.4)
    assert decision.reason is Reason.SLOWER  # 1.0 - 0.032 - 0.024 is less than 0.95
    assert (decision.size, decision.window, decision.scale) == (464, 7, 0.9)


def test_error_of_a_frame_of_twice_the_target_or_more_is_one() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 900.0, 900.0)
    assert scheduler.decision.error == -1.0
    assert scheduler.decision.output == -0.1 + 0.01 * -1.0 + 0.05 * 0.0  # no error before it
    assert scheduler.decision.size == 464  # 0.89 is within half a step of 0.9


def test_within_5_percent_nothing_is_corrected() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, *[104.9] * 200)
    assert (scheduler.decision.size, scheduler.decision.output, scheduler.decision.integral) == (512, 0.0, 0.0)
    assert scheduler.decision.reason is Reason.ON_TARGET
    feed(scheduler, *[106.0] * 12)
    assert scheduler.decision.size == 464


def test_single_stalls_of_any_length_change_nothing() -> None:
    scheduler = Scheduler(100.0)
    for _ in range(50):
        feed(scheduler, 95.0, 95.0, 5000.0)
    assert (scheduler.decision.size, scheduler.decision.scale) == (512, 1.0)


def test_slow_first_frame_of_a_new_size_is_not_believed() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 130.0, 130.0, 130.0)
    assert scheduler.decision.size == 464
    feed(scheduler, 600.0)
    assert scheduler.decision.reason is Reason.MEASURING
    feed(scheduler, *[100.0] * 5)
    assert (scheduler.decision.size, scheduler.decision.scale) == (464, 0.9)


def test_larger_size_waits_for_ten_frames_and_for_room() -> None:
    scheduler = Scheduler(100.0)
    run_paced(scheduler, [1.3] * 12)
    assert scheduler.decision.size == 416  # 1.3 at full size is 0.86 at 416 px, 1.07 at 464 px
    run_paced(scheduler, [1.3] * 50, start_ms=scheduler.state.time_ms or 0.0)
    assert (scheduler.decision.size, scheduler.decision.reason) == (416, Reason.NO_ROOM)
    seen = run_paced(scheduler, [0.5] * 60, start_ms=scheduler.state.time_ms or 0.0)
    sizes = sizes_of(seen)
    first = sizes.index(464) if 464 in sizes else sizes.index(512)
    assert sizes[first : first + 10] == [sizes[first]] * 10
    assert sizes[-1] == 512
    assert scheduler.decision.reason is Reason.FULL


def test_smaller_size_after_a_larger_one_waits_unless_it_is_urgent() -> None:
    def raised() -> Scheduler:
        scheduler = Scheduler(100.0, sizes=(464, 512))
        feed(scheduler, *[130.0] * 4)
        while scheduler.decision.size == 464:
            feed(scheduler, 70.0)
        return scheduler

    scheduler = raised()
    feed(scheduler, *[120.0] * 9)
    assert (scheduler.decision.size, scheduler.decision.reason) == (512, Reason.DWELL)
    feed(scheduler, 120.0)
    assert scheduler.decision.size == 464
    scheduler = raised()
    feed(scheduler, *[130.0] * 3)
    assert scheduler.decision.size == 464


def test_prompted_frame_has_full_size_and_window_and_its_time_is_not_used() -> None:
    scheduler = Scheduler(100.0, sizes=(256, 304, 352))
    run_paced(scheduler, [4.0] * 30)
    before = scheduler.state
    assert scheduler.decision.size == 256
    assert (scheduler.prompted.size, scheduler.prompted.window) == (352, 8)
    feed(scheduler, 900.0, counts=False)
    assert scheduler.decision.size == 256
    assert scheduler.state.recent_ms == before.recent_ms
    assert scheduler.state.scale == before.scale


def test_two_sizes_are_enough() -> None:
    scheduler = Scheduler(100.0, sizes=(256, 512))
    seen = run_paced(scheduler, [1.5] * 40)
    assert sizes_of(seen)[-30:] == [256] * 30
    seen = run_paced(scheduler, [0.8] * 60, start_ms=scheduler.state.time_ms or 0.0)
    assert sizes_of(seen)[-1] == 512


def test_one_size_is_all_there_is() -> None:
    scheduler = Scheduler(100.0, sizes=(352,))
    run_paced(scheduler, [5.0] * 50)
    assert (scheduler.decision.size, scheduler.decision.reason) == (352, Reason.LOWEST)


def test_after_a_pause_the_last_frames_say_nothing() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 100.0, 100.0, 115.0, 115.0)
    assert scheduler.state.integral != 0
    scheduler.observe(Measurement(100.0, (scheduler.state.time_ms or 0.0) + 5000.0))
    assert (scheduler.state.recent_ms, scheduler.state.integral) == ((100.0,), 0.0)
    assert scheduler.decision.reason is Reason.MEASURING


@pytest.mark.parametrize(
    ("thermal_level", "headroom", "size"),
    [(0, 0.99, 352), (2, nan, 352), (3, 0.1, 256), (1, 1.2, 256), (1, nan, 464), (0, 0.8, 512)],
)
def test_heat_takes_size_at_once(thermal_level: int, headroom: float, size: int) -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 50.0, thermal_level=thermal_level, headroom=headroom)
    assert scheduler.decision.size == size
    assert (scheduler.decision.reason is Reason.HEAT) == (size < 512)


def test_size_comes_back_thirty_seconds_after_the_heat() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, *[50.0] * 20, thermal_level=2)
    feed(scheduler, *[50.0] * 600, thermal_level=0)  # 30 s, the first of them at 0 s
    assert scheduler.decision.size == 352
    feed(scheduler, *[50.0] * 20, thermal_level=0)
    assert scheduler.decision.size == 512


def test_heat_counts_on_a_prompted_frame_too() -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 50.0, thermal_level=3, counts=False)
    assert (scheduler.decision.size, scheduler.prompted.size) == (256, 512)


@pytest.mark.parametrize(
    ("measurement", "what"),
    [
        (Measurement(nan, 500.0), "frame time"),
        (Measurement(inf, 500.0), "frame time"),
        (Measurement(-1.0, 500.0), "frame time"),
        (Measurement(10.0, nan), "time stamp"),
        (Measurement(10.0, 399.0), "time stamp"),
        (Measurement(10.0, 500.0, thermal_level=4), "thermal level"),
        (Measurement(10.0, 500.0, thermal_level=-1), "thermal level"),
    ],
)
def test_bad_measurement_is_refused_and_changes_nothing(measurement: Measurement, what: str) -> None:
    scheduler = Scheduler(100.0)
    feed(scheduler, 100.0, 150.0, 150.0)
    before = scheduler.state, scheduler.decision
    with pytest.raises(ContractError, match=rf"^{what}: expected .*, got .*; "):
        scheduler.observe(measurement)
    assert (scheduler.state, scheduler.decision) == before


@pytest.mark.parametrize("target_ms", [0.0, -1.0, nan, inf])
def test_bad_target_is_refused(target_ms: float) -> None:
    with pytest.raises(ContractError, match=r"^target: expected finite milliseconds > 0, got "):
        Scheduler(target_ms)


@pytest.mark.parametrize("sizes", [(), (512, 256), (256, 256), (256, 300)])
def test_bad_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ContractError, match=r"^sizes: expected "):
        Scheduler(100.0, sizes=sizes)


def test_reset_forgets_everything() -> None:
    scheduler = Scheduler(100.0)
    fresh = scheduler.state, scheduler.decision
    run_paced(scheduler, [3.0] * 40)
    scheduler.reset()
    assert (scheduler.state, scheduler.decision) == fresh
    assert scheduler.decision.size == SIZES[-1]


def test_equal_measurements_give_equal_states() -> None:
    one, other = Scheduler(100.0), Scheduler(100.0)
    loads = [0.9] * 10 + [2.1] * 40 + [0.7] * 40
    first, second = run_paced(one, loads, jitter=0.1), run_paced(other, loads, jitter=0.1)
    assert first == second
    assert one.state == other.state
