"""The simulated device, the answer to a step, and the sweep over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.evaluation.adaptive import sweep as sweeping
from sam2lite_mobile.evaluation.adaptive.device import Heating, SimulatedDevice, SimulatedFrame, simulate
from sam2lite_mobile.evaluation.adaptive.latency_table import read_table, write_table
from sam2lite_mobile.evaluation.adaptive.step_response import measured, respond
from sam2lite_mobile.evaluation.adaptive.sweep import SweepResult, best, given, score, sweep, write_sweep
from sam2lite_mobile.evaluation.adaptive.sweep_report import sweep_text, write_sweep_report
from sam2lite_mobile.runtime.scheduler import Decision, Reason, Scheduler
from tests.evaluation.adaptive_tables import round_table
from tests.repository import ROOT

TABLE = round_table()


def decision(size: int, window: int = 8) -> Decision:
    return Decision(size, window, Reason.ON_TARGET, 1.0, 0)


def test_table_survives_the_disk(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", TABLE)
    assert read_table(tmp_path / "t.json") == TABLE


def test_nearest_measured_window_counts_and_of_two_the_smaller() -> None:
    assert [TABLE.frame_ms(512, window) for window in (2, 4, 5, 6, 8)] == [220.0, 220.0, 220.0, 230.0, 230.0]
    with pytest.raises(DataError, match=r"latency table: expected sizes of .* got 300"):
        TABLE.frame_ms(300, 2)


@pytest.mark.parametrize(
    "change", [{"schema_version": 2}, {"rows": []}, {"extra": 1}, {"rows": [{"size": 300}]}, {"objects": 0}]
)
def test_table_that_breaks_the_schema_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    content = msgspec.json.decode(msgspec.json.encode(TABLE)) | change
    (tmp_path / "t.json").write_bytes(msgspec.json.encode(content))
    with pytest.raises(DataError, match="measure it again"):
        read_table(tmp_path / "t.json")


def test_shipped_table_has_every_size_and_costs_that_rise_with_it() -> None:
    table = read_table(ROOT / "docs" / "latency_nano_torch.json")
    times = [table.frame_ms(size, 8) for size in table.sizes]
    assert table.sizes == (256, 304, 352, 416, 464, 512)
    assert times == sorted(times)


def test_frame_is_overhead_and_load_times_the_table_and_a_spike() -> None:
    device = SimulatedDevice(TABLE, load=lambda index: 2.0 if index else 1.0, overhead_ms=5.0, spikes={2: 100.0})
    times = [device.run(decision(256)) for _ in range(3)]
    assert [each.frame_ms for each in times] == [75.0, 145.0, 245.0]
    assert [each.time_ms for each in times] == [75.0, 220.0, 465.0]


def test_camera_is_waited_for() -> None:
    device = SimulatedDevice(TABLE, period_ms=100.0)
    assert [device.run(decision(256)).time_ms, device.run(decision(416)).time_ms] == [100.0, 255.0]


def test_noise_is_the_same_for_the_same_seed() -> None:
    def times(seed: int) -> list[float]:
        device = SimulatedDevice(TABLE, jitter=0.1, seed=seed)
        return [device.run(decision(256)).frame_ms for _ in range(20)]

    assert times(1) == times(1) != times(2)
    assert 60 < sum(times(1)) / 20 < 80


def test_busy_device_heats_up_throttles_and_cools() -> None:
    heating = Heating(full_power=2.0, time_constant_s=10.0, throttled=3.0, released=0.9)
    device = SimulatedDevice(TABLE, period_ms=230.0, heating=heating)
    first = device.run(decision(512))
    assert first.headroom == pytest.approx(2.0 * 0.23 / 10)  # busy all the time, 0.23 s of 10 s
    while not device.throttled:
        device.run(decision(512))
    assert device.temperature >= 1.0
    assert device.run(decision(256)).frame_ms == 3 * 70.0
    idle = replace(decision(256))
    slow = SimulatedDevice(TABLE, period_ms=5000.0, heating=heating)
    assert slow.run(idle).headroom < 0.1


def test_largest_size_within_a_limit() -> None:
    device = SimulatedDevice(TABLE, load=lambda index: 2.0)
    assert device.largest_within(0, 231.0) == 2  # 2 x 115
    assert device.largest_within(0, 1.0) == 0


def test_figures_of_a_step_by_hand() -> None:
    # Target 100. Two frames too slow at 512, then 256, which is one step below where it ends.
    after = [SimulatedFrame(decision(512), 200.0, 200.0, 0.0, False)] * 2
    after += [SimulatedFrame(decision(256), 60.0, 60.0, 0.0, False)] * 10
    after += [SimulatedFrame(decision(304), 80.0, 80.0, 0.0, False)] * 8
    after += [SimulatedFrame(decision(304), 120.0, 80.0, 0.0, False)] * 2  # noise
    response = measured(after, target_ms=100.0, best=2)
    assert (response.settling, response.overshoot, response.regained) == (2, 1, 22)
    assert (response.changes, response.lost) == (0.0, 1.0)  # from frame 15 on: all at 304, best would be 352
    assert response.on_target == 5 / 7


def test_scheduler_settles_and_a_load_that_goes_is_regained() -> None:
    response = respond(TABLE, load=2.0)
    assert 2 <= response.settling <= 15
    assert (response.overshoot, response.on_target) == (0, 1.0)
    back = respond(TABLE, load=0.8, load_before=2.0)
    assert (back.settling, back.regained < 40) == (0, True)


def test_simulation_never_leaves_the_table() -> None:
    device = SimulatedDevice(TABLE, load=lambda index: 1 + index / 50, jitter=0.05)
    sizes = {frame.decision.size for frame in simulate(device, Scheduler(240.0), 150)}
    assert sizes <= set(TABLE.sizes)
    assert len(sizes) > 3


@pytest.fixture(scope="module")
def result() -> SweepResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "FACTORS", (0.0, 1.0))
        patch.setattr(sweeping, "LOADS", (1.5, 2.4))
        patch.setattr(sweeping, "HEAT_MINUTES", 2)
        patch.setattr(sweeping, "POWERS", (1.4,))
        patch.setattr(sweeping, "SEEDS", (1,))
        return sweep(TABLE)


def test_sweep_has_every_setting_and_finds_the_given_one(result: SweepResult) -> None:
    assert [(each.kp, each.ki, each.kd) for each in result.gains][:3] == [(0, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert len(result.gains) == 8
    own = given(result)
    assert own.settled == 1.0
    assert best(result).score.settling_mean <= own.settling_mean
    without_gains = result.gains[0].score
    assert without_gains.settling_mean == 90  # nothing moves the size


def test_without_costs_the_size_does_not_come_to_rest(result: SweepResult) -> None:
    parts = {each.name: each for each in result.parts}
    assert parts["without costs"].changes > 5 * parts["as it is"].changes
    assert parts["as it is"].lost_flat is not None


def test_cap_keeps_a_device_from_throttling(result: SweepResult) -> None:
    runs = {(each.name, each.cooling_s): each for each in result.heat}
    assert runs["no cap", 30.0].throttled > 0
    assert runs["0.9, 0.7, 0.5", 30.0].throttled == 0


def test_equal_tables_have_equal_scores() -> None:
    assert score(TABLE, name="a") == score(TABLE, name="a")


def test_page_shows_gains_parts_heat_and_the_table(
    result: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from sam2lite_mobile.evaluation.adaptive import sweep_plot

    monkeypatch.setattr(sweep_plot, "FACTORS", (0.0, 1.0))
    paths = write_sweep_report(tmp_path / "scheduler.md", result, TABLE)
    assert [path.name for path in paths] == ["scheduler.md", "scheduler_gains.svg", "scheduler_stairs.svg"]
    text = paths[0].read_text()
    assert text == sweep_text(result, TABLE, plots=[path.name for path in paths[1:]])
    assert "![Frame times and sizes down and up the stairs](scheduler_stairs.svg)" in text
    assert "| **frame** | 70.0 | 90.0 | 115.0 | 155.0 | 195.0 | 230.0 |" in text
    assert "| frame, window of 2 | 70.0 | 90.0 | 115.0 | 155.0 | 195.0 | 220.0 |" in text
    first = [path.read_bytes() for path in paths]
    write_sweep_report(tmp_path / "scheduler.md", result, TABLE)
    assert [path.read_bytes() for path in paths] == first
    write_sweep(tmp_path / "s.json", result)
    assert msgspec.json.decode((tmp_path / "s.json").read_bytes(), type=SweepResult) == result
