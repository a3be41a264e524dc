"""What training costs: figures from step times, the real batches and steps, clean stops, and what fits on a GPU."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.training.batches import iterate_steps
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.cost import measure
from sam2lite_mobile.training.cost.fitting import TRIED_STEPS, grown, largest_micro_clips, largest_that_fits
from sam2lite_mobile.training.cost.measure import CostPlan, Watcher, measure_cost, worker_speed
from sam2lite_mobile.training.cost.memory import children_peak_bytes
from sam2lite_mobile.training.cost.results import (
    TrainingCost,
    data_supply,
    phase_hours,
    phase_times,
    read_cost,
    write_cost,
)
from sam2lite_mobile.training.cost.step_times import PartTimes, StepTimes, backward_calls, part_times
from sam2lite_mobile.training.processes import Processes
from sam2lite_mobile.training.recipe import Phase
from sam2lite_mobile.training.run import Run
from tests.training.short_runs import moving_square, short_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = [
    StepTimes(256, waited=0.5, advanced=1.5, processor=1.4, parts=PartTimes(0.5, 0.75, 0.25)),
    StepTimes(256, waited=0.0, advanced=4.0, processor=2.0, parts=PartTimes(1.0, 2.5, 0.5)),
    StepTimes(352, waited=1.5, advanced=2.5, processor=2.4, parts=PartTimes(1.0, 1.0, 0.5)),
]


def plan(data: Path, **changes: object) -> CostPlan:
    """Two steps of each phase of the short recipe, batches made in between."""
    given = CostPlan(short_recipe(precision="fp32"), data, steps=2, warm_up=1, workers=0)
    return replace(given, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cost(small_data: Path) -> TrainingCost:
    """A whole measurement of the short recipe, phases of three steps and of one; a worker alone makes 9 clips/s."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "worker_speed", lambda *arguments, **options: 9.0)
        found = measure_cost(plan(small_data), Processes())
    torch.set_num_threads(before)
    assert found is not None
    return found


def test_speed_and_shares_are_over_the_whole_time_of_the_steps() -> None:
    times = phase_times(STEPS, batch_clips=4, frames=3)
    assert (times.steps, times.clips, times.frames, times.seconds) == (3, 12, 36, 10.0)
    assert (times.clips_per_s, times.frames_per_s) == pytest.approx((1.2, 3.6))
    assert (times.step_s_median, times.processor_s_median) == (4.0, 2.0)  # of 2, 4, 4 and of 1.4, 2, 2.4
    assert times.step_s_p90 == pytest.approx(4.0)
    assert times.wait_share == pytest.approx(0.2)
    assert times.shares is not None
    assert (times.shares.forward, times.shares.backward, times.shares.update) == pytest.approx((0.25, 0.425, 0.125))
    assert [(each.size, each.steps, each.mean_s) for each in times.by_size] == [(256, 2, 3.0), (352, 1, 4.0)]


def test_parts_are_left_out_where_one_step_has_none() -> None:
    times = phase_times([*STEPS, replace(STEPS[0], parts=None)], batch_clips=1, frames=2)
    assert times.shares is None


def test_hours_weigh_each_size_as_the_recipe_has_it() -> None:
    times = phase_times(STEPS, batch_clips=4, frames=3)
    weighted = Phase(clips=1, frames=3, sizes=(256, 256, 256, 352))
    assert phase_hours(times, weighted, all_steps=3600) == pytest.approx((3 * 3.0 + 4.0) / 4)
    unseen = Phase(clips=1, frames=3, sizes=(256, 352, 512))
    assert phase_hours(times, unseen, all_steps=1800) == pytest.approx(3.5 / 2)


@pytest.mark.parametrize(
    ("workers", "speed", "settled", "needed", "limit"),
    [
        (1, 4.0, 0.5, 2, "data"),  # training alone takes 8 clips/s
        (2, 4.0, 0.0, 2, "compute"),
        (1, 7.2, 0.1, 1, "compute"),  # the goal itself is met
        (1, 7.1, 0.1125, 2, "data"),
        (0, 8.0, 0.5, 1, "data"),  # making and training take turns
        (0, 152.0, 0.05, 1, "compute"),
    ],
)
def test_data_limits_where_workers_make_less_than_training_takes(
    workers: int, speed: float, settled: float, needed: int, limit: str
) -> None:
    steps = [StepTimes(256, waited=0.0, advanced=0.5, processor=0.5, parts=None)] * 3
    supply = data_supply(phase_times(steps, batch_clips=4, frames=2), worker_clips_per_s=speed, workers=workers)
    assert supply.compute_clips_per_s == pytest.approx(8)
    assert supply.settled_wait_share == pytest.approx(settled)
    assert (supply.workers_needed, supply.limited_by) == (needed, limit)


def test_waiting_that_was_measured_limits_whatever_a_worker_does_alone() -> None:
    supply = data_supply(phase_times(STEPS, batch_clips=4, frames=2), worker_clips_per_s=100.0, workers=1)
    assert (supply.settled_wait_share, supply.limited_by) == (0.0, "data")
    assert supply.compute_clips_per_s == pytest.approx(1.5)  # 12 clips in the 8 s that were not waiting


def test_forward_is_what_lies_before_each_backward_and_update_what_lies_after_the_last() -> None:
    parts = part_times(10.0, [(11.0, 13.0), (13.5, 14.0)], 14.25)  # a batch in two pieces
    assert parts == PartTimes(forward=1.5, backward=2.5, update=0.25)
    assert part_times(10.0, [], 12.0) is None


def test_backward_calls_are_timed_inside_the_block_only() -> None:
    ticks = iter(range(100))
    original = torch.Tensor.backward
    weight = torch.ones(2, requires_grad=True)
    with backward_calls(lambda: float(next(ticks))) as calls:
        weight.sum().backward()  # type: ignore[no-untyped-call]
        (2 * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.Tensor.backward is original
    weight.sum().backward()  # type: ignore[no-untyped-call]
    assert calls == [(0.0, 1.0), (2.0, 3.0)]
    with pytest.raises(RuntimeError, match="does not require grad"), backward_calls(lambda: 0.0):
        torch.ones(1).backward()  # type: ignore[no-untyped-call]
    assert torch.Tensor.backward is original
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0, 4.0]


def test_measured_figures_belong_together(cost: TrainingCost, small_data: Path) -> None:
    recipe = short_recipe(precision="fp32")
    assert [(phase.number, phase.first_step, phase.all_steps) for phase in cost.phases] == [(1, 0, 3), (2, 3, 1)]
    assert [(phase.warm_up_steps, phase.times.steps) for phase in cost.phases] == [(1, 2), (0, 1)]
    assert [phase.settings["video_share"] for phase in cost.phases] == [0.5, 1.0]
    assert cost.hours == pytest.approx(sum(phase.hours for phase in cost.phases))
    for phase in cost.phases:
        times, shares = phase.times, phase.times.shares
        assert times.clips == times.steps * recipe.batch_clips
        assert times.frames == 2 * times.clips
        assert times.clips_per_s * times.seconds == pytest.approx(times.clips)
        assert shares is not None
        assert times.wait_share + shares.forward + shares.backward + shares.update == pytest.approx(1)
        assert min(times.wait_share, shares.forward, shares.backward, shares.update) > 0
        assert 0 < times.step_s_median <= times.step_s_p90 <= times.seconds
        assert phase.hours * 3600 == pytest.approx(times.seconds / times.steps * phase.all_steps)
        assert phase.memory.process_bytes > 100e6  # torch alone is more
        assert (phase.memory.device_bytes, phase.largest_micro_clips) == (None, None)
        assert phase.data == data_supply(times, worker_clips_per_s=9.0, workers=0)
    conditions = cost.conditions
    assert (conditions.recipe, conditions.recipe_sha256) == ("short", recipe.digest())
    assert (conditions.device, conditions.precision, conditions.threads) == ("cpu", "fp32", 1)
    assert conditions.data == small_data.name
    assert any("phase 2: nothing was warmed up" in note for note in cost.notes)


def test_result_file_gives_back_what_was_written(cost: TrainingCost, tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    write_cost(path, cost)
    assert read_cost(path) == cost
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_is_no_result_is_refused(cost: TrainingCost, tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    write_cost(path, msgspec.structs.replace(cost, schema_version=2))
    with pytest.raises(DataError, match="expected schema version 1, got 2"):
        read_cost(path)
    content = msgspec.to_builtins(cost)
    content["phases"][0]["times"]["wait_share"] = 1.5
    path.write_bytes(msgspec.json.encode(content))
    with pytest.raises(DataError, match="expected a result of sam2lite bench-train"):
        read_cost(path)


def test_each_phase_takes_the_batches_of_its_own_first_steps(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ClipBatch]] = []

    def advance(run: Run, batch: ClipBatch) -> None:
        seen.append((run.step, batch))
        run.step += 1

    monkeypatch.setattr(Run, "advance", advance)
    monkeypatch.setattr(measure, "worker_speed", lambda *arguments, **options: 1.0)
    recipe = short_recipe(phases=(Phase(clips=4, frames=2), Phase(clips=3, frames=3, sizes=(352,))))
    assert measure_cost(plan(small_data, recipe=recipe, steps=1), Processes()) is not None
    assert [step for step, _ in seen] == [0, 1, 4, 5]
    real = list(iterate_steps(small_data, recipe, range(recipe.steps), workers=0))
    for step, batch in seen:
        assert torch.equal(batch.frames, real[step].frames)
        assert torch.equal(batch.points, real[step].points)


def test_stop_between_steps_gives_no_result(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "advance", lambda run, batch: None)
    monkeypatch.setattr(measure, "worker_speed", lambda *arguments, **options: 1.0)
    for allowed in range(3):
        taken: list[int] = []
        watcher = Watcher(stop=lambda: len(taken) >= allowed, on_step=lambda: taken.append(1))  # noqa: B023
        assert measure_cost(plan(small_data), Processes(), watcher=watcher) is None
        assert len(taken) == allowed


def test_worker_speed_leaves_out_the_first_batches_of_its_process(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[range, int]] = []
    seconds = [0.0]

    def slow_batches(data_root: Path, recipe: object, steps: range, *, workers: int) -> Iterator[str]:
        asked.append((steps, workers))
        for index in range(len(steps)):
            seconds[0] += 8.0 if index == 0 else 0.5
            yield "a batch"

    monkeypatch.setattr(measure, "iterate_steps", slow_batches)
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))
    recipe = short_recipe(batch_clips=2)
    assert worker_speed(small_data, recipe, range(5, 11)) == 4.0  # 3 of 6 batches: 6 clips in 1.5 s
    assert worker_speed(small_data, recipe, range(5, 7)) == 4.0  # the last of two
    assert worker_speed(small_data, recipe, range(5, 6)) == 0.25  # a single step is made here: 2 clips in 8 s
    assert asked == [(range(5, 11), 1), (range(5, 7), 1), (range(5, 6), 0)]


def test_memory_of_living_children_is_added_up() -> None:
    before = children_peak_bytes()
    if before is None:
        pytest.skip("no /proc on this system")
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,))
    child.start()
    try:
        deadline = time.monotonic() + 20
        while (children_peak_bytes() or 0) < before + 5e6 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (children_peak_bytes() or 0) >= before + 5e6  # an interpreter
    finally:
        child.terminate()
        child.join()
    assert children_peak_bytes() == before


def test_wrong_plans_are_refused_before_anything_runs(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "Run", None)
    with pytest.raises(ContractError, match="--fit-batch: expected a GPU, got the device cpu"):
        measure_cost(plan(small_data, fit_batch=True), Processes())
    several = Processes()
    several.count = 2
    with pytest.raises(ContractError, match="expected one process, got 2; run it without torchrun"):
        measure_cost(plan(small_data), several)
    for name, value in (("steps", 0), ("warm_up", -1), ("workers", -1), ("micro_clips", 0)):
        with pytest.raises(ContractError, match=f"{name}: expected"):
            plan(small_data, **{name: value})


def test_search_finds_every_limit_in_few_trials() -> None:
    for limit in range(41):
        for start in (1, 3, 4, 16, 32, 100):
            tried: list[int] = []

            def fits(clips: int) -> bool:
                tried.append(clips)  # noqa: B023
                return clips <= limit  # noqa: B023

            assert largest_that_fits(fits, start=start, most=32) == min(limit, 32)
            assert len(tried) == len(set(tried)) <= 10
            assert min(tried) >= 1
            assert max(tried) <= 32


def test_largest_micro_batch_is_that_of_the_steps_that_hold_most() -> None:
    advanced: list[tuple[int, int]] = []

    def advance(batch: ClipBatch) -> None:
        advanced.append((run.step, batch.count))
        assert batch.frames.shape[2] == 32
        assert run.micro_clips is None
        if batch.count > (5 if run.step == 12 else 9):
            raise torch.OutOfMemoryError

    run = SimpleNamespace(
        processes=SimpleNamespace(device=torch.device("cuda")),
        recipe=short_recipe(phases=(Phase(clips=100, frames=2),)),
        optimizer=SimpleNamespace(zero_grad=lambda *, set_to_none: None),
        micro_clips=2,
        step=10,
        advance=advance,
    )
    found = largest_micro_clips(run, moving_square(clips=2), size=32, start=2, stop=lambda: False)  # type: ignore[arg-type]
    assert found == 5
    assert run.step == 10
    assert advanced[:TRIED_STEPS] == [(10, 2), (11, 2), (12, 2), (13, 2)]
    stopped = largest_micro_clips(run, moving_square(), size=32, start=2, stop=lambda: True)  # type: ignore[arg-type]
    assert stopped is None


def test_grown_batch_repeats_clips_in_turn_at_the_new_size() -> None:
    batch = moving_square(clips=2, frames=2)
    larger = grown(batch, clips=3, size=512)
    assert larger.frames.shape == (3, 2, 512, 512, 3)
    assert larger.masks.shape == (3, 2, 512, 512)
    assert (larger.frames.dtype, larger.rows, larger.all_rows) == (torch.uint8, range(3), 3)
    assert torch.equal(larger.frames[:, :, ::2, ::2], batch.frames[[0, 1, 0]])
    assert torch.equal(larger.frames[:, :, 1::2, 1::2], batch.frames[[0, 1, 0]])
    assert torch.equal(larger.masks[:, :, ::2, 1::2], batch.masks[[0, 1, 0]])
    assert torch.equal(larger.points, batch.points[[0, 1, 0]])
