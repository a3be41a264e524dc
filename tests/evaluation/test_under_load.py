"""The load beside a measurement, and both sides under it, with the scripted engine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sam2lite_mobile import __version__
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.evaluation.adaptive.load_generator import LoadGenerator, Pulses
from sam2lite_mobile.evaluation.adaptive.under_load import LoadPlan, run_under_load, side_result
from sam2lite_mobile.evaluation.conditions import Conditions, engine_info, this_machine
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.pacing import SwitchingPace
from sam2lite_mobile.evaluation.prompting import PromptKind
from sam2lite_mobile.evaluation.results import ObjectScores, sequence_result
from tests.media.clips import write_davis
from tests.runtime.scripted_engine import ScriptedEngine

PULSES = Pulses(quiet=2, loaded=3)


def test_load_comes_and_goes_by_frame() -> None:
    assert [PULSES.loaded_at(frame) for frame in range(7)] == [False, False, True, True, True, False, False]
    assert [PULSES.frames_since_change(frame) for frame in range(7)] == [0, 1, 0, 1, 2, 0, 1]


def test_processes_are_started_once_and_none_is_left() -> None:
    with LoadGenerator(2) as generator:
        generator.switch(True)
        pids = [process.pid for process in generator._running]
        generator.switch(True)
        assert [process.pid for process in generator._running] == pids
        assert len(set(pids)) == 2
        assert generator.on
        generator.switch(False)
        assert not generator.on
        generator.switch(True)
        pids += [process.pid for process in generator._running]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_figures_of_a_side_by_hand() -> None:
    pulses = Pulses(quiet=20, loaded=20)
    times = [999.0] + [100.0] * 19 + [250.0] * 15 + [200.0] * 4 + [500.0]
    sequence = sequence_result(
        "a",
        [ObjectScores(1, 0, [1.0, *[0.5] * 38, 1.0], [1.0, *[0.7] * 38, 1.0])],
        shape=(8, 8),
        latency_ms={"total": times},
        sizes=[512] * 25 + [256] * 15,
    )
    side = side_result([sequence], pulses, size=512, target_fps=5.0)
    assert side.jf == pytest.approx(0.6)
    assert side.quiet_fps == 10.0  # without the first, which is prompted
    assert side.loaded_fps == pytest.approx(1000 * 20 / (15 * 250 + 4 * 200 + 500))
    assert side.settled == 10  # from 15 on in both parts
    assert side.on_target == 0.9  # up to 220 ms
    assert side.sizes == {256: 15, 512: 5}


def plan(**changes: object) -> LoadPlan:
    values: dict[str, object] = {
        "sequences": ("a", "b"),
        "size": 512,
        "window": 8,
        "prompt": PromptKind.MASK,
        "target_fps": None,
        "processes": 1,
        "pulses": PULSES,
        "max_frames": None,
    }
    return LoadPlan(**(values | changes))  # type: ignore[arg-type]


def conditions(engine: ScriptedEngine) -> Conditions:
    return Conditions(
        package_version=__version__,
        data="tiny",
        split="all",
        sequences=["a", "b"],
        prompt="mask",
        size=512,
        window=8,
        budget=engine.bank_tokens,
        selection="gate",
        selection_seed=None,
        max_frames=None,
        engine=engine_info(engine.describe(), None),
        machine=this_machine(),
    )


class PacedEngine(ScriptedEngine):
    """An image encoder that takes 6 ms at 512 px and 1.5 at 256, whatever the machine does meanwhile."""

    def run(self, graph_id: str, tensors):  # type: ignore[no-untyped-def]
        if graph_id.startswith("image_encoder"):
            time.sleep(0.006 * (int(graph_id.rpartition("_")[2]) / 512) ** 2)
        return super().run(graph_id, tensors)


def test_both_sides_are_measured_on_the_same_frames(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "tiny", ["a", "b"], frames=6))
    engine = PacedEngine()
    result = run_under_load(engine, layout, plan(target_fps=1000.0), conditions(engine))
    for side in (result.fixed, result.adaptive):
        assert [sequence.name for sequence in side.sequences] == ["a", "b"]
        assert sum(side.sizes.values()) == 2 * 3
    assert result.fixed.sizes == {512: 6}
    assert min(result.adaptive.sizes) < 512  # no size reaches a thousand frames a second
    assert result.rate == result.adaptive.loaded_fps / result.fixed.loaded_fps
    assert result.jf_lost == pytest.approx(100 * (result.fixed.jf - result.adaptive.jf), abs=1e-9)
    assert result.jf_lost_low <= result.jf_lost <= result.jf_lost_high


def test_target_follows_from_the_fixed_side(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "tiny", ["a", "b"], frames=6))
    engine = PacedEngine()
    result = run_under_load(engine, layout, plan(), conditions(engine))
    first = side_result(result.fixed.sequences[:1], PULSES, size=512, target_fps=1.0)
    assert result.target_fps == pytest.approx(1.35 * first.loaded_fps)


def test_sequence_shorter_than_a_pulse_is_refused_before_anything_runs(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "tiny", ["a", "b"], frames=4))
    engine = PacedEngine()
    with pytest.raises(ContractError, match=r"frames of a: expected 5 or more, got 4; shorten the pulses"):
        run_under_load(engine, layout, plan(), conditions(engine))
    assert not engine.runs


def test_sizes_are_switched_down_and_up() -> None:
    pace = SwitchingPace(2, (256, 352, 512))
    assert [pace.size_at(index) for index in range(10)] == [512, 512, 352, 352, 256, 256, 352, 352, 512, 512]
    assert SwitchingPace(5, (416,)).size_at(12) == 416
    with pytest.raises(ContractError, match="frames at a size: expected 1 or more, got 0"):
        SwitchingPace(0, (256,))
