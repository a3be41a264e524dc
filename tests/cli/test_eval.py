"""`sam2lite eval` from the arguments to the result file, with the scripted engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sam2lite_mobile.evaluation import evaluate
from sam2lite_mobile.evaluation.latency import TIMER_SCOPE
from sam2lite_mobile.evaluation.results import read_result
from tests.cli.conftest import Call
from tests.media.clips import write_davis

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
    assert (conditions.engine.name, conditions.timer) == ("scripted", TIMER_SCOPE)
    assert result.summary is not None
    assert result.summary.latency_ms["total"].frames == 15
    assert result.summary.jf_mean > 0.8
    assert f"{100 * result.summary.jf_mean:.1f}" in call.out
    assert "256 px, window 8, scripted" in call.out.replace("\n", " ")
    assert sorted(path.name for path in (tmp_path / "m" / "b").iterdir()) == [f"0000{i}.png" for i in range(5)]


def test_sequences_of_a_split_can_be_chosen(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", "--max-frames", 3, *FAST)
    call = sam2lite(*arguments, "--sequences", "c, a", "--prompt", "click")
    assert (call.status, "tiny/part of all, first 3 frames, click prompt" in call.out) == (0, True)
    result = read_result(tmp_path / "r.json")
    assert [(sequence.name, sequence.frames) for sequence in result.sequences] == [("a", 3), ("c", 3)]
    assert (result.conditions.prompt, result.conditions.split) == ("click", "part of all")
    call = sam2lite(*arguments, "--sequences", "zebra")
    assert (call.status, "--sequences: expected sequences of all, got 'zebra'" in call.err) == (2, True)


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
