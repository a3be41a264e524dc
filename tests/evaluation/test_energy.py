"""Energy: counters of a made-up powercap tree, their wrap-around and refusal, and the model in their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sam2lite_mobile.evaluation.energy import (
    COUNTERS,
    MODEL,
    WATTS_PER_CORE,
    EnergyMeter,
    energy_of,
    open_counters,
)

RANGE = 262_143_328_850


def package(root: Path, name: str, microjoules: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    first, second = package(tmp_path, "intel-rapl:0", 1_000_000), package(tmp_path, "intel-rapl:1", 0)
    package(tmp_path, "intel-rapl:0:0", 77)
    (tmp_path / "intel-rapl").mkdir()
    counters = open_counters(tmp_path)
    assert counters is not None
    before = counters.read()
    assert before == (1_000_000, 0)
    first.write_text("3000000\n")
    second.write_text("500000\n")
    assert counters.joules(before, counters.read()) == pytest.approx(2.5)


def test_a_counter_that_starts_again_loses_nothing(tmp_path: Path) -> None:
    energy = package(tmp_path, "intel-rapl:0", RANGE - 999_999)
    counters = open_counters(tmp_path)
    assert counters is not None
    before = counters.read()
    energy.write_text("2000000")
    assert counters.joules(before, counters.read()) == pytest.approx(3.0, abs=1e-9)


def test_no_counters_no_permission_and_nonsense_are_none(tmp_path: Path) -> None:
    assert open_counters(tmp_path / "nowhere") is None
    energy = package(tmp_path, "intel-rapl:0", 5)
    energy.write_text("many")
    assert open_counters(tmp_path) is None


def test_a_counter_that_may_not_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energy = package(tmp_path, "intel-rapl:0", 5)
    read = Path.read_text

    def refusing(path: Path, encoding: str | None = None) -> str:
        if path == energy:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, encoding=encoding)

    monkeypatch.setattr(Path, "read_text", refusing)
    assert open_counters(tmp_path) is None


def test_meter_adds_what_happens_between_start_and_stop(tmp_path: Path) -> None:
    energy = package(tmp_path, "intel-rapl:0", 0)
    seconds: Iterator[float] = iter([10.0, 10.5, 20.0, 20.25])
    meter = EnergyMeter(open_counters(tmp_path), clock=lambda: next(seconds))
    for before, after in ((1_000_000, 1_500_000), (9_000_000, 9_250_000)):
        energy.write_text(str(before))
        meter.start()
        energy.write_text(str(after))
        meter.stop()
    assert (meter.processor_s, meter.counter_j) == (0.75, 0.75)


def test_ten_minutes_of_video_in_watt_hours() -> None:
    measured = energy_of(100, processor_s=20.0, counter_j=500.0)
    assert (measured.method, measured.joules_per_frame, measured.watts_per_core) == (COUNTERS, 5.0, None)
    assert measured.watt_hours == pytest.approx(5 * 18_000 / 3600)
    modelled = energy_of(100, processor_s=20.0, counter_j=None)
    assert (modelled.method, modelled.watts_per_core) == (MODEL, WATTS_PER_CORE)
    assert modelled.joules_per_frame == pytest.approx(0.2 * WATTS_PER_CORE)
    assert energy_of(100, processor_s=20.0, counter_j=None, watts_per_core=7).watt_hours == pytest.approx(7.0)
