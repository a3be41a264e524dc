"""The benchmark: what its timers hold, how rounds are paired, the notes, the limits, the memory, the result file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.contract import BANK_TOKENS_MIN
from sam2lite_mobile.errors import ContractError, DataError, MissingBackendError
from sam2lite_mobile.evaluation.bench import alone, peer, run
from sam2lite_mobile.evaluation.bench.alone import in_new_process, measure_long_run, measure_memory
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.clocks import Stopwatch, Times, now
from sam2lite_mobile.evaluation.bench.conditions import load_notes, subject_notes, thread_notes
from sam2lite_mobile.evaluation.bench.memory import peak_bytes, resident_bytes
from sam2lite_mobile.evaluation.bench.opening import PeerSpec, StudentSpec, SubjectSpec
from sam2lite_mobile.evaluation.bench.results import (
    SCHEMA_VERSION,
    BenchResult,
    Peak,
    RunConditions,
    SubjectResult,
    read_bench,
    subject_result,
    write_bench,
)
from sam2lite_mobile.evaluation.bench.rounds import paired_ratio, part_times, run_rounds
from sam2lite_mobile.evaluation.bench.run import BenchPlan, run_bench
from sam2lite_mobile.evaluation.bench.subjects import HOST, TOTAL, FrameTimes, SubjectFacts
from sam2lite_mobile.evaluation.bench.tracker_subject import FILL_FRAMES, HOST_STAGES, TrackerSubject
from sam2lite_mobile.evaluation.conditions import this_machine
from sam2lite_mobile.runtime.engine import EngineDescription
from tests.media.clips import square_frame, square_mask
from tests.runtime.scripted_engine import ScriptedEngine, Tensors

ENGINE = EngineDescription("scripted", "fp32", 1, "1")


def square_clip(frames: int = 4) -> Clip:
    return Clip("square", tuple(square_frame(step) for step in range(frames)), square_mask(0))


def frame_of(total_ms: float, *, cpu_ms: float | None = None, remembered: bool = True, **parts: float) -> FrameTimes:
    times = {name: Times(value, value) for name, value in parts.items()}
    times[TOTAL] = Times(total_ms, total_ms if cpu_ms is None else cpu_ms)
    return FrameTimes(times, {}, remembered)


def result_of(name: str, frames: list[FrameTimes], *, engine: EngineDescription = ENGINE) -> SubjectResult:
    return subject_result(SubjectFacts(name, 512, 10, 384, engine, "all"), frames, None)


class ScriptedSubject:
    """Each frame takes the next of the given times, and is written down in a shared log."""

    def __init__(self, name: str, totals_ms: list[float], log: list[str]) -> None:
        self.facts = SubjectFacts(name, 256, None, 1, ENGINE, "all")
        self._totals = iter(totals_ms)
        self._log = log

    def prepare(self) -> None:
        self._log.append(f"{self.facts.name} prepared")

    def step(self) -> FrameTimes:
        self._log.append(self.facts.name)
        return frame_of(next(self._totals))


class SlowEngine(ScriptedEngine):
    """Waits in every run of one graph, without using the processor."""

    def __init__(self, graph: str, *, wait_s: float) -> None:
        super().__init__()
        self._slow, self._wait_s = graph, wait_s

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        if graph_id.startswith(self._slow):
            time.sleep(self._wait_s)
        return super().run(graph_id, tensors)


def test_clip_goes_forth_and_back_without_a_cut() -> None:
    clip = square_clip(4)
    order = [next(i for i, kept in enumerate(clip.frames) if kept is clip.frame(index)) for index in range(9)]
    assert order == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    alone_in_clip = square_clip(1)
    assert alone_in_clip.frame(5) is alone_in_clip.frames[0]


def test_stopwatch_sums_a_part_that_runs_twice_and_starts_again_when_taken() -> None:
    watch = Stopwatch()
    watch.add("a", Times(1, 2))
    watch.add("a", Times(3, 4))
    assert watch.take() == {"a": Times(4, 6)}
    assert watch.take() == {}


def test_wall_clock_counts_waiting_and_processor_clock_does_not() -> None:
    started = now()
    time.sleep(0.05)
    waited = now() - started
    assert waited.wall_ms >= 49
    assert waited.cpu_ms < 25


@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder", "memory_encoder", "token_gate"])
def test_time_in_a_graph_counts_to_that_graph_and_to_the_whole_frame(graph: str) -> None:
    subject = TrackerSubject("x", SlowEngine(graph, wait_s=0.03), square_clip(), size=256)
    subject.step()
    parts = subject.step().parts
    assert parts[graph].wall_ms >= 30
    assert max(times.wall_ms for name, times in parts.items() if name not in (graph, TOTAL)) < 25
    assert sum(times.wall_ms for name, times in parts.items() if name != TOTAL) == pytest.approx(parts[TOTAL].wall_ms)


def test_time_outside_the_engine_counts_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from sam2lite_mobile.runtime import tracker

    original = tracker.cell_motion

    def slow_motion(*arguments: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        time.sleep(0.03)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tracker, "cell_motion", slow_motion)
    subject = TrackerSubject("x", ScriptedEngine(), square_clip(), size=256)
    times = subject.step()
    assert times.parts[HOST].wall_ms >= 30
    assert times.host_ms["motion"] >= 30
    assert set(times.host_ms) == set(HOST_STAGES)
    assert sum(times.host_ms.values()) <= times.parts[HOST].wall_ms


def test_prepared_tracker_has_a_full_bank_and_every_later_frame_is_remembered() -> None:
    engine = ScriptedEngine()
    subject = TrackerSubject("x", engine, square_clip(), size=256)
    subject.prepare()
    before = engine.runs["token_gate"]
    frames = [subject.step() for _ in range(5)]
    assert engine.runs["token_gate"] == before + 5
    assert all(frame.remembered for frame in frames)
    assert (subject.facts.bank_tokens, subject.facts.size) == (BANK_TOKENS_MIN, 256)


def test_object_that_is_lost_before_the_bank_is_full_is_an_error() -> None:
    empty = np.zeros_like(square_frame(0))
    engine = ScriptedEngine(bank_tokens=512)  # the first frame alone cannot fill it
    gone = Clip("gone", (square_frame(0), *[empty] * FILL_FRAMES), square_mask(0))
    subject = TrackerSubject("x", engine, gone, size=256)
    with pytest.raises(DataError, match="x on the clip: expected a bank of 512 tokens"):
        subject.prepare()


def test_rounds_interleave_subjects_and_throw_the_warm_up_away() -> None:
    log: list[str] = []
    subjects = [ScriptedSubject("a", [9, 1, 2], log), ScriptedSubject("b", [9, 3, 4], log)]
    heard: list[str] = []
    frames = run_rounds(subjects, rounds=2, warm_up=1, on_frame=heard.append)
    assert log == heard == ["a", "b"] * 3
    assert {name: [f.parts[TOTAL].wall_ms for f in each] for name, each in frames.items()} == {"a": [1, 2], "b": [3, 4]}


def test_ratio_is_taken_round_by_round_before_the_median() -> None:
    # The machine is ten times slower in the second round: a ratio of medians would be 0.2.
    mine = [frame_of(1, cpu_ms=3), frame_of(10, cpu_ms=3), frame_of(2, cpu_ms=3)]
    theirs = [frame_of(10, cpu_ms=6), frame_of(100, cpu_ms=6), frame_of(10, cpu_ms=6)]
    ratio = paired_ratio(mine, theirs)
    assert (ratio.wall, ratio.cpu) == (pytest.approx(0.1), pytest.approx(0.5))
    assert (ratio.wall_low, ratio.wall_high) == (pytest.approx(0.1), pytest.approx(0.15))
    assert paired_ratio(mine[:1], theirs[:1]).wall_high == pytest.approx(0.1)


def test_part_that_did_not_run_on_a_frame_took_no_time() -> None:
    times = part_times([frame_of(5, gate=2), frame_of(3)])
    assert [each.wall_ms for each in times["gate"]] == [2, 0]


def test_busy_machine_is_noted() -> None:
    assert load_notes(0.1, 1.2, threads=1) == load_notes(None, None, threads=1) == []
    assert ["before the run" in note for note in load_notes(0.8, 1.0, threads=1)] == [True]
    assert ["at the end" in note for note in load_notes(0.1, 1.8, threads=1)] == [True]


def test_thread_variables_that_say_something_else_are_noted() -> None:
    assert thread_notes(1, {"OMP_NUM_THREADS": "1", "OTHER": "4"}) == []
    (note,) = thread_notes(1, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"})
    assert note.startswith("MKL_NUM_THREADS=2")


@pytest.mark.parametrize(
    ("frames", "engine", "words"),
    [
        ([frame_of(10)], ENGINE, None),
        ([frame_of(10, cpu_ms=8)], ENGINE, "waited for a processor"),
        ([frame_of(10, cpu_ms=19)], ENGINE, "1.9 processors were used where 1 were allowed"),
        ([frame_of(10), frame_of(10, remembered=False)], ENGINE, "1 of 2 frames wrote no memory"),
        ([frame_of(10)], EngineDescription("coreml-interpreter", "fp16", 1, "1"), "nothing about Core ML"),
    ],
)
def test_what_spoils_a_subjects_figures_is_noted(
    frames: list[FrameTimes], engine: EngineDescription, words: str | None
) -> None:
    notes = subject_notes(result_of("x", frames, engine=engine), threads=1)
    assert [words in note for note in notes if words] == ([] if words is None else [True])
    assert len(notes) == (words is not None)


def test_peak_memory_remembers_what_was_freed_and_resident_memory_does_not() -> None:
    before, peak_before = resident_bytes(), peak_bytes()
    block = np.ones(300_000_000, np.uint8)
    assert resident_bytes() >= before + 250_000_000
    del block
    assert resident_bytes() < before + 150_000_000
    assert peak_bytes() >= max(peak_before, before + 250_000_000)


def opened(engine: Callable[[], ScriptedEngine]) -> Callable[..., TrackerSubject]:
    return lambda spec, clip, threads: TrackerSubject("scripted", engine(), clip, size=256)


def test_long_run_reports_first_middle_and_last_twentieth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "open_subject", opened(ScriptedEngine))
    monkeypatch.setattr(alone, "bench_clip", square_clip)
    found = measure_long_run(StudentSpec("nano", 256), frames=101, threads=1)
    assert [(each.first_frame, each.frames) for each in found.segments] == [(0, 5), (48, 5), (96, 5)]
    assert all(each.wall_ms > 0 and each.resident_bytes > 10_000_000 for each in found.segments)
    assert found.peak_bytes >= max(each.resident_bytes for each in found.segments)
    with pytest.raises(ContractError, match="long run: expected 60 frames or more, got 59"):
        measure_long_run(StudentSpec("nano", 256), frames=59, threads=1)


def test_result_holds_all_subjects_and_a_note_on_the_missing_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    def open_scripted(spec: SubjectSpec, clip: Clip, *, threads: int) -> ScriptedSubject:
        if isinstance(spec, PeerSpec):
            raise MissingBackendError("the peer EdgeTAM: expected timm")
        assert isinstance(spec, StudentSpec)
        return ScriptedSubject(f"{spec.student}@{spec.size}", [1, 2, 3], log)

    monkeypatch.setattr(run, "open_subject", open_scripted)
    plan = BenchPlan((StudentSpec("tiny", 512), StudentSpec("nano", 512)), rounds=2, warm_up=1, memory=False)
    result = run_bench(plan)
    assert [subject.name for subject in result.subjects] == ["tiny@512", "nano@512"]
    assert result.subjects[0].parts[TOTAL].wall_ms.p50 == 2.5
    assert (result.ratios, result.verdicts, result.long_run) == ([], [], None)
    assert result.notes[0] == "no peer: the peer EdgeTAM: expected timm"
    assert log[:2] == ["tiny@512 prepared", "nano@512 prepared"]


def test_peer_comes_last_in_a_round_and_is_what_ratios_refer_to(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Mapping[SubjectSpec, tuple[str, list[float]]] = {
        StudentSpec("tiny", 512): ("tiny@512", [20, 20]),
        PeerSpec(): ("edgetam@1024", [100, 200]),
    }
    log: list[str] = []
    monkeypatch.setattr(run, "open_subject", lambda spec, clip, threads: ScriptedSubject(*times[spec], log))
    result = run_bench(BenchPlan((StudentSpec("tiny", 512),), rounds=2, warm_up=0, memory=False))
    assert log[2:] == ["tiny@512", "edgetam@1024"] * 2
    (ratio,) = result.ratios
    assert (ratio.subject, ratio.peer, ratio.wall) == ("tiny@512", "edgetam@1024", pytest.approx(0.15))
    assert [verdict.held for verdict in result.verdicts] == [False]


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"threads": 0}, {"warm_up": -1}, {"subjects": ()}])
def test_plans_without_anything_to_measure_are_refused(wrong: dict[str, object]) -> None:
    options: dict[str, object] = {"subjects": (PeerSpec(),), **wrong}
    with pytest.raises(ContractError, match="benchmark: expected a subject, a thread and a round"):
        BenchPlan(**options)  # type: ignore[arg-type]


def bench_result() -> BenchResult:
    conditions = RunConditions("0.1.0", this_machine(), 1, "square", 1, 0, "", 0.1, None, ["avx_vnni"])
    subjects = [result_of("x", [frame_of(1)])]
    peak = Peak("torch.mm", 100, "a product")
    return BenchResult(SCHEMA_VERSION, conditions, subjects, [], [], [], peak, [], None, ["a note"])


def test_result_comes_back_from_its_file(tmp_path: Path) -> None:
    write_bench(tmp_path / "b.json", bench_result())
    assert read_bench(tmp_path / "b.json") == bench_result()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 1}, "expected schema version 2, got 1"),
        ({"extra": 1}, "unknown field `extra`"),
        ({"ratios": [{"subject": "x"}]}, "missing required field"),
    ],
)
def test_results_that_break_the_schema_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "b.json").write_text(json.dumps(msgspec.to_builtins(bench_result()) | change))
    with pytest.raises(DataError, match=message):
        read_bench(tmp_path / "b.json")


def test_missing_peer_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "find_spec", lambda name: None)
    with pytest.raises(MissingBackendError, match="got no edgetam-dimos, no hydra, no timm; install"):
        peer.check_installed()


def test_other_package_of_the_same_module_name_is_not_taken_for_the_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sam2").mkdir()
    (tmp_path / "sam2" / "__init__.py").write_text("")
    for name in ("hydra", "timm"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [name for name in sys.modules if name.partition(".")[0] in ("sam2", "hydra", "timm")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingBackendError, match="got no edgetam-dimos; install"):
        peer.check_installed()


def test_students_with_random_weights_always_see_their_object() -> None:
    from sam2lite_mobile.evaluation.bench.students import student_subject

    subject = student_subject("nano", square_clip(), size=256)
    frames = [subject.step() for _ in range(3)]
    assert all(frame.remembered for frame in frames)
    assert list(frames[2].parts) == ["image_encoder", "mask_decoder", "memory_encoder", "token_gate", HOST, TOTAL]
    assert subject.facts.name == "nano@256"


@pytest.mark.slow
def test_memory_of_a_process_of_its_own_does_not_hold_this_one() -> None:
    ballast = np.ones(1_500_000_000, np.uint8)
    found = in_new_process(measure_memory, StudentSpec("nano", 256), threads=1)
    assert found.before_bytes < found.peak_bytes < ballast.nbytes


@pytest.mark.slow
def test_edgetam_has_the_published_size_and_a_full_bank() -> None:
    try:
        peer.check_installed()
    except MissingBackendError as error:
        pytest.skip(str(error))
    subject = peer.EdgeTam(square_clip())
    subject.prepare()
    parts = subject.step().parts
    assert subject.facts.parameters == 13_895_794
    assert list(parts) == ["image_encoder", "memory_attention", "mask_decoder", "memory_encoder", "rest", TOTAL]
    assert all(times.wall_ms > 0 for times in parts.values())
    assert "torchvision" not in sys.modules
