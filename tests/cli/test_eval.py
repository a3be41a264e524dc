"""`sam2lite eval` from the arguments to the result file, with the scripted engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sam2lite_mobile.evaluation import evaluate
from sam2lite_mobile.evaluation.latency import TIMER_SCOPE
from sam2lite_mobile.evaluation.results import EvaluationResult, read_result
from sam2lite_mobile.evaluation.sequence_picture import CELL_WIDTH, COLUMNS
from sam2lite_mobile.media.pictures import read_picture
from sam2lite_mobile.runtime.redetection import LOST_AFTER
from sam2lite_mobile.student.checkpoint import save_student
from tests.cli.conftest import Call
from tests.media.clips import write_davis
from tests.training.short_runs import small_student

FAST = ("--engine", "scripted", "--size", 256)
Run = Callable[..., Call]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_davis(tmp_path / "tiny", ["a", "b", "c"], frames=5)


def test_result_holds_scores_and_conditions_and_the_table_shows_them(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    call = sam2lite("eval", "--data", data, "--split", "tiny", "--json", path, "--save-masks", tmp_path / "m", *FAST)
    assert call.status == 0, call.err
    result = read_result(path)
    assert [sequence.name for sequence in result.sequences] == ["a", "b", "c"]
    conditions = result.conditions
    assert (conditions.data, conditions.split, conditions.prompt) == ("tiny", "tiny", "mask")
    assert (conditions.size, conditions.window, conditions.max_frames) == (256, 8, None)
    assert (conditions.budget, conditions.selection, conditions.selection_seed) == (128, "gate", None)
    assert (conditions.engine.name, conditions.timer) == ("scripted", TIMER_SCOPE)
    assert result.summary is not None
    assert result.summary.latency_ms["total"].frames == 15
    assert result.summary.jf_mean > 0.8
    assert f"{100 * result.summary.jf_mean:.1f}" in call.out
    assert "256 px, window 8, 128 tokens by gate, scripted" in call.out.replace("\n", " ")
    assert sorted(path.name for path in (tmp_path / "m" / "b").iterdir()) == [f"0000{i}.png" for i in range(5)]


def test_energy_and_memory_are_in_the_file_and_in_the_table(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "graph.bin").write_bytes(bytes(1_500_000))
    call = sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", "--package", package, *FAST)
    assert call.status == 0, call.err
    result = read_result(tmp_path / "r.json")
    assert result.conditions.engine.files_bytes == 1_500_000
    assert result.summary is not None
    energy, memory = result.summary.energy, result.summary.memory
    assert energy is not None
    assert memory is not None
    costs = [sequence.cost for sequence in result.sequences if sequence.cost is not None]
    assert energy.frames == sum(cost.frames for cost in costs) == 15
    assert energy.processor_s_per_frame == pytest.approx(sum(cost.processor_s for cost in costs) / 15)
    assert 0 < memory.loaded_bytes <= memory.peak_bytes
    assert "files of the engine: 1.5 MB" in call.out.replace("\n", " ")
    assert f"energy: {energy.watt_hours:.2f} Wh for 10 minutes of video at 30 frames" in call.out.replace("\n", " ")


def test_pictures_show_every_sequence(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    call = sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", "--pictures", folder, *FAST)
    assert call.status == 0, call.err
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]
    assert read_picture(folder / "b.jpg").shape[1] == COLUMNS * CELL_WIDTH


def test_stability_is_in_the_file_and_in_the_table(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", "--sequences", "a", *FAST)
    call = sam2lite(*arguments, "--memory-cells")
    assert call.status == 0, call.err
    (sequence,) = read_result(tmp_path / "r.json").sequences
    assert sequence.stability is not None
    assert sequence.stability.flicker is not None
    assert f"{100 * sequence.stability.flicker:.1f}" in call.out
    assert f"{100 * sequence.stability.drift:+.1f}" in call.out
    assert "image encoder" in call.out
    assert "frames a second" in call.out
    assert sequence.objects[0].memory_cells is not None
    call = sam2lite(*arguments, "--no-flicker")
    (sequence,) = read_result(tmp_path / "r.json").sequences
    assert sequence.stability is not None
    assert (sequence.stability.flicker, sequence.objects[0].memory_cells) == (None, None)


def test_clip_is_looped(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", "--sequences", "a", "--loop", 30, *FAST)
    call = sam2lite(*arguments)
    assert call.status == 0, call.err
    result = read_result(tmp_path / "r.json")
    assert (result.conditions.loop_frames, result.sequences[0].frames) == (30, 30)
    assert "forth and back to 30 frames" in call.out
    assert "resident memory" in call.out


def test_sequences_of_a_split_can_be_chosen(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", "--max-frames", 3, *FAST)
    call = sam2lite(*arguments, "--sequences", "c, a", "--prompt", "click")
    assert (call.status, "tiny/part of all, first 3 frames, click prompt" in call.out) == (0, True)
    result = read_result(tmp_path / "r.json")
    assert [(sequence.name, sequence.frames) for sequence in result.sequences] == [("a", 3), ("c", 3)]
    assert (result.conditions.prompt, result.conditions.split) == ("click", "part of all")
    call = sam2lite(*arguments, "--sequences", "zebra")
    assert (call.status, "--sequences: expected sequences of all, got 'zebra'" in call.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "recorded", "shown"),
    [
        (("--selection", "fifo", "--budget", 512), (512, "fifo", None), "512 tokens by fifo,"),
        (("--selection", "random"), (128, "random", 0), "128 tokens by random 0,"),
        (("--selection", "random", "--selection-seed", 7), (128, "random", 7), "128 tokens by random 7,"),
    ],
)
def test_budget_and_selection_are_recorded(
    sam2lite: Run, data: Path, tmp_path: Path, arguments: tuple[object, ...], recorded: tuple[object, ...], shown: str
) -> None:
    path = tmp_path / "r.json"
    call = sam2lite("eval", "--data", data, "--json", path, "--max-frames", 3, *FAST, *arguments)
    conditions = read_result(path).conditions
    assert (conditions.budget, conditions.selection, conditions.selection_seed) == recorded
    assert shown in call.out.replace("\n", " ")


def test_unbounded_memory_is_recorded_without_budget_and_selection(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    save_student(small_student(), tmp_path / "s.safetensors")
    arguments = ("--checkpoint", tmp_path / "s.safetensors", "--size", 256, "--max-frames", 3, "--sequences", "a")
    call = sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", "--budget", "unbounded", *arguments)
    assert call.status == 0, call.err
    conditions = read_result(tmp_path / "r.json").conditions
    assert (conditions.budget, conditions.selection, conditions.selection_seed) == (None, None, None)
    assert "256 px, unbounded memory, torch" in call.out.replace("\n", " ")


def test_interrupted_run_is_resumed_without_doing_a_sequence_twice(
    sam2lite: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", *FAST)
    done: list[str] = []
    original = evaluate.evaluate_sequence

    def stopping(engine: object, layout: object, sequence: str, **options: object) -> object:
        if sequence == "b" and not done.count("b"):
            done.append("b")
            raise KeyboardInterrupt
        done.append(sequence)
        return original(engine, layout, sequence, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "evaluate_sequence", stopping)
    assert sam2lite(*arguments).status == 130
    assert [path.name for path in tmp_path.glob("r.json*")] == ["r.json.partial"]
    call = sam2lite(*arguments, "--resume", "--size", 304)
    assert (call.status, "got other size" in call.err) == (2, True)
    done.clear()
    done.append("b")
    assert sam2lite(*arguments, "--resume").status == 0
    assert done == ["b", "b", "c"]
    assert [path.name for path in tmp_path.glob("r.json*")] == ["r.json"]
    assert [sequence.name for sequence in read_result(tmp_path / "r.json").sequences] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "val"), "split 'val': expected 'all', a file, or one of tiny, got no such list"),
        (("--prompt", "scribble"), "--prompt: expected mask or box or click, got 'scribble'"),
        (("--size", 300), "--size: expected"),
        (("--json", "nowhere/r.json"), "result nowhere/r.json: expected a file in an existing folder"),
        (("--data", "nowhere"), "expected a folder of sequences, got no such folder"),
        (("--selection", "best"), "--selection: expected gate or fifo or uniform or random or simple, got 'best'"),
        (("--selection", "fifo", "--selection-seed", 1), "--selection-seed: expected --selection random, got fifo"),
        (("--selection", "fifo", "--budget", "unbounded"), "--selection fifo: expected a budget, got unbounded"),
        (("--budget", 127), "--budget: expected 128 to 512, or unbounded, got '127'"),
        (("--budget", 513), "--budget: expected 128 to 512, or unbounded, got '513'"),
        (("--budget", "half"), "--budget: expected 128 to 512, or unbounded, got 'half'"),
        (("--budget", "unbounded"), "unbounded memory: expected the engine torch, got scripted"),
    ],
)
def test_wrong_calls_are_one_line(
    sam2lite: Run, data: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    call = sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", *FAST, *arguments)
    assert call.status == 2
    assert message in call.err
    assert call.err.count("\n") == 1
    assert not (tmp_path / "r.json").exists()


def test_sizes_can_be_switched_every_few_frames(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    call = sam2lite("eval", "--data", data, "--json", path, "--engine", "scripted", "--size", 352, "--switch-every", 2)
    assert call.status == 0, call.err
    result = read_result(path)
    assert (result.conditions.switch_every, result.conditions.target_fps) == (2, None)
    assert [sequence.sizes for sequence in result.sequences] == [[352, 352, 304, 304, 256]] * 3
    assert result.summary is not None
    assert result.summary.jf_mean > 0.8
    assert "up to 352 px, another size every 2 frames" in call.out.replace("\n", " ")


def test_sizes_can_follow_a_target_rate(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    arguments = ("eval", "--data", data, "--json", path, "--engine", "scripted", "--size", 512)
    assert sam2lite(*arguments, "--target-fps", 100_000).status == 0
    result = read_result(path)
    assert result.conditions.target_fps == 100_000
    assert all(sequence.sizes[0] == 512 and sequence.sizes[-1] < 512 for sequence in result.sequences)


def test_switching_and_a_target_are_refused_together(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", *FAST)
    call = sam2lite(*arguments, "--target-fps", 5, "--switch-every", 5)
    assert (call.status, "sizes: expected --target-fps or --switch-every, got both" in call.err) == (2, True)
    call = sam2lite(*arguments, "--target-fps", -1)
    assert (call.status, "--target-fps: expected more than 0" in call.err) == (2, True)


def test_remedies_are_part_of_the_conditions_and_change_what_is_tracked(
    sam2lite: Run, data: Path, tmp_path: Path
) -> None:
    def evaluated(name: str, *options: object) -> EvaluationResult:
        call = sam2lite("eval", "--data", data, "--split", "tiny", "--json", tmp_path / name, *options, *FAST)
        assert call.status == 0, call.err
        return read_result(tmp_path / name)

    plain, strict = evaluated("plain.json"), evaluated("strict.json", "--min-quality", 1, "--fine")
    assert (plain.conditions.min_quality, plain.conditions.fine) == (0, False)
    assert (strict.conditions.min_quality, strict.conditions.fine) == (1, True)
    assert strict.sequences[0].objects[0].j[0] > 0.8, "the frame of the prompt counts whatever the limit"
    assert max(strict.sequences[0].objects[0].j[LOST_AFTER:]) == 0, "a checksum below 1 is no certain object"
    assert min(plain.sequences[0].objects[0].j) > 0.8
