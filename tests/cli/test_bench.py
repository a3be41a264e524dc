"""`sam2lite bench` from the arguments to the tables and the result file, over subjects that take no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sam2lite_mobile.evaluation.bench import run
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.evaluation.bench.opening import PackageSpec, PeerSpec, StudentSpec, SubjectSpec
from sam2lite_mobile.evaluation.bench.results import LongRun, LongRunSegment, Memory, read_bench
from sam2lite_mobile.evaluation.bench.subjects import HOST, TOTAL, FrameTimes, SubjectFacts
from sam2lite_mobile.runtime.engine import EngineDescription
from tests.cli.conftest import Call

Run = Callable[..., Call]
PEER_MS = 1000.0


class FixedSubject:
    """Every frame takes the same time: a tenth of a millisecond for each pixel of the input's side."""

    def __init__(self, spec: SubjectSpec) -> None:
        if isinstance(spec, PeerSpec):
            name, size, self._total = "edgetam@1024", 1024, PEER_MS
        else:
            name = f"{spec.student if isinstance(spec, StudentSpec) else getattr(spec, 'engine', '')}@{spec.size}"
            size, self._total = spec.size, spec.size / 10
        self.facts = SubjectFacts(name, size, 1, 384, EngineDescription("fixed", "fp32", 1, "1"), "all of it")

    def prepare(self) -> None:
        return

    def step(self) -> FrameTimes:
        parts = {HOST: Times(2.0, 2.0), TOTAL: Times(self._total, self._total)}
        return FrameTimes(parts, {"resize": 1.5}, True)


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SubjectSpec, int]]:
    """Specifications and threads of the subjects that were opened."""
    found: list[tuple[SubjectSpec, int]] = []

    def open_fixed(spec: SubjectSpec, clip: Clip, *, threads: int) -> FixedSubject:
        found.append((spec, threads))
        return FixedSubject(spec)

    monkeypatch.setattr(run, "open_subject", open_fixed)
    return found


def test_subjects_ratios_and_limits_reach_the_tables_and_the_file(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    call = sam2lite("bench", "--rounds", 3, "--no-memory", "--json", path)
    assert call.status == 0, call.err
    students = [StudentSpec(name, size) for name in ("nano", "tiny") for size in (512, 256)]
    assert opened == [(spec, 1) for spec in (*students, PeerSpec())]
    result = read_bench(path)
    assert {ratio.subject: ratio.wall for ratio in result.ratios} == pytest.approx(
        {"nano@512": 0.0512, "nano@256": 0.0256, "tiny@512": 0.0512, "tiny@256": 0.0256}
    )
    assert [verdict.held for verdict in result.verdicts] == [True] * 4
    assert (result.conditions.rounds, result.subjects[0].parts[TOTAL].wall_ms.frames) == (3, 3)
    for text in ("51.2", "processor time", "0.051", "timed: all of it", "3 rounds after 2 of warm-up", "held"):
        assert text in call.out
    assert "missed" not in call.out


def test_missed_limit_is_shown_and_fails_only_with_check(
    sam2lite: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(f"{__name__}.PEER_MS", 500.0)
    arguments = ("bench", "--students", "nano", "--sizes", 512, "--rounds", 1, "--no-memory")
    call = sam2lite(*arguments)
    assert (call.status, "missed" in call.out) == (0, True)
    call = sam2lite(*arguments, "--check", "--json", tmp_path / "b.json")
    assert call.status == 1
    assert "nano@512 / edgetam@1024, whole frame: expected at most 0.07, got 0.102" in call.err
    assert not read_bench(tmp_path / "b.json").verdicts[0].held  # a run that fails is kept


def test_memory_and_the_long_run_are_measured_in_processes_of_their_own(
    sam2lite: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, SubjectSpec]] = []

    def in_new_process(measure: Callable[..., object], spec: SubjectSpec, **options: int) -> object:
        asked.append((measure.__name__, spec))
        if measure.__name__ == "measure_memory":
            return Memory(100_000_000, 350_000_000)
        segment = LongRunSegment(0, options["frames"] // 20, 31.5, 30.0, 123_400_000)
        return LongRun("nano@256", options["frames"], [segment], 130_000_000)

    monkeypatch.setattr(run, "in_new_process", in_new_process)
    call = sam2lite("bench", "--rounds", 1, "--no-peer", "--sizes", "256,512", "--long", 200, "--json", tmp_path / "b")
    assert call.status == 0, call.err
    assert [name for name, _ in asked] == ["measure_memory"] * 4 + ["measure_long_run"]
    assert asked[-1][1] == StudentSpec("nano", 256)
    result = read_bench(tmp_path / "b")
    assert result.subjects[3].memory == Memory(100_000_000, 350_000_000)
    assert result.ratios == []
    for text in ("250", "200 frames of nano@256", "0 to 9", "31.5", "123.4"):
        assert text in call.out


@pytest.mark.parametrize("engine", ["coreml", "onnx", "tflite", "executorch"])
def test_package_is_timed_at_the_sizes_that_are_asked_for(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path, engine: str
) -> None:
    arguments = ("bench", "--engine", engine, "--package", tmp_path, "--sizes", 256, "--rounds", 1, "--no-memory")
    call = sam2lite(*arguments, "--no-peer", "--threads", 2)
    assert call.status == 0, call.err
    assert opened == [(PackageSpec(engine, tmp_path, 256), 2)]
    assert f"{engine}@256" in call.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--students", "huge"), "--students: expected of nano, tiny, small, base, got 'huge'"),
        (("--students", "nano,nano"), "--students: expected"),
        (("--sizes", "300"), "--sizes: expected of 256"),
        (("--sizes", "512,512"), "--sizes: expected"),
        (("--engine", "coreml"), "engine coreml: expected --package DIR, got None"),
        (("--engine", "onnx"), "engine onnx: expected --package DIR, got None"),
        (("--engine", "tflite"), "engine tflite: expected --package DIR, got None"),
        (("--engine", "tpu"), "engine: expected torch or coreml or onnx or tflite or executorch"),
        (("--package", "x"), "--package: expected an engine on packages, got engine torch"),
        (("--json", "nowhere/b.json"), "--json: expected a file in an existing folder"),
    ],
)
def test_wrong_calls_are_one_line_and_measure_nothing(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], arguments: tuple[str, ...], message: str
) -> None:
    call = sam2lite("bench", *arguments)
    assert call.status == 2
    assert message in call.err
    assert call.err.count("\n") == 1
    assert opened == []
