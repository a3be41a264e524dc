"""`sam2lite eval` in several processes and `sam2lite join`: the result of one process, but for times."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.evaluation.results import EvaluationResult, read_result
from sam2lite_mobile.student.checkpoint import save_student
from tests.cli.conftest import Call
from tests.media.clips import write_davis
from tests.repository import ROOT
from tests.training.short_runs import small_student

FAST = ("--engine", "scripted", "--size", 256)
Run = Callable[..., Call]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_davis(tmp_path / "tiny", ["a", "b", "c"], frames=5)


def untimed(result: EvaluationResult) -> EvaluationResult:
    """A result without what differs from run to run: times, what they cost, and the number of processes."""
    summary = result.summary and msgspec.structs.replace(result.summary, latency_ms={}, energy=None, memory=None)
    return msgspec.structs.replace(
        result,
        conditions=msgspec.structs.replace(result.conditions, processes=1),
        sequences=[msgspec.structs.replace(each, latency_ms={}, cost=None) for each in result.sequences],
        summary=summary,
    )


def test_shards_join_to_the_result_of_one_process(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", "--data", data, *FAST, "--json")
    assert sam2lite(*arguments, tmp_path / "one.json").status == 0
    for index in (1, 0):
        call = sam2lite(*arguments, tmp_path / "r.json", "--shards", 2, "--shard", index)
        assert call.status == 0, call.err
        assert f"r.json.shard-{index}-of-2; when all 2 are there: sam2lite join" in call.out.replace("\n", "")
    names = [[each.name for each in read_result(tmp_path / f"r.json.shard-{i}-of-2").sequences] for i in (0, 1)]
    assert names == [["a", "c"], ["b"]]
    call = sam2lite("join", tmp_path / "r.json")
    assert call.status == 0, call.err
    assert "all objects" in call.out
    one, joined = read_result(tmp_path / "one.json"), read_result(tmp_path / "r.json")
    assert untimed(joined) == untimed(one)
    assert (one.conditions.processes, joined.conditions.processes) == (1, 2)


def test_a_finished_shard_is_not_evaluated_again(
    sam2lite: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", *FAST, "--shards", 2, "--shard", 0)
    assert sam2lite(*arguments).status == 0
    monkeypatch.setattr("sam2lite_mobile.evaluation.evaluate.evaluate_sequence", None)
    assert sam2lite(*arguments, "--resume").status == 0
    assert len(read_result(tmp_path / "r.json.shard-0-of-2").sequences) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shards", 2), "shard: expected --shards N and --shard I, got no --shard"),
        (("--shard", 0), "shard: expected --shards N and --shard I, got no --shards"),
        (("--shards", 2, "--shard", 2), "shard: expected 0 to 1 of 2, got 2 of 2"),
        (("--shards", 4, "--shard", 0), "shards: expected at most 3 sequences, got 4"),
    ],
)
def test_wrong_shards_are_one_line(
    sam2lite: Run, data: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    call = sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", *FAST, *arguments)
    assert (call.status, message in call.err, call.err.count("\n")) == (2, True, 1)


def test_shards_are_refused_under_torchrun(
    sam2lite: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    arguments = ("eval", "--data", data, "--json", tmp_path / "r.json", *FAST)
    call = sam2lite(*arguments, "--shards", 2, "--shard", 0)
    assert (call.status, "--shards: expected none under torchrun" in call.err) == (2, True)


def test_join_without_all_parts_is_one_line(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    call = sam2lite("join", tmp_path / "r.json")
    assert (call.status, "expected r.json.shard-*-of-*, got none" in call.err) == (2, True)
    sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", *FAST, "--shards", 2, "--shard", 1)
    call = sam2lite("join", tmp_path / "r.json")
    assert (call.status, "expected every sequence once, got a is missing, and 1 more" in call.err) == (2, True)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.slow
def test_processes_of_torchrun_give_the_result_of_one(data: Path, tmp_path: Path) -> None:
    save_student(small_student(), tmp_path / "s.safetensors")
    options = ["--data", str(data), "--checkpoint", str(tmp_path / "s.safetensors"), "--size", "256", "--json"]
    command = [sys.executable, "-m", "sam2lite_mobile.cli.main", "eval", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    two = [{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": rank} for rank in "01"]
    running = [
        subprocess.Popen([*command, str(tmp_path / name)], env=environment | launched, stdout=subprocess.PIPE)
        for name, launched in (("one.json", {}), ("two.json", two[0]), ("two.json", two[1]))
    ]
    shown = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert ["all objects" in text.decode() for text in shown] == [True, True, False]
    alone, joined = read_result(tmp_path / "one.json"), read_result(tmp_path / "two.json")
    assert untimed(alone) == untimed(joined)
    assert joined.conditions.processes == 2
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == ["one.json", "two.json"]
