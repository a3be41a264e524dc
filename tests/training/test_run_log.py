"""The log: one line a step, whatever was killed in between."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from sam2lite_mobile.training.run_log import LOG_NAME, TENSORBOARD_FOLDER, RunLog


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


def test_line_holds_the_means_since_the_last_one(tmp_path: Path) -> None:
    with RunLog(tmp_path, finished_steps=0) as log:
        log.collect({"loss": 1.0, "prompt": 5.0}, waited=0.0)
        log.collect({"loss": 2.0}, waited=0.0)
        first = log.write_means(2, {"rate": 0.5})
        log.collect({"loss": 4.0}, waited=0.0)
        log.write_means(3, {"rate": 0.25})
    assert lines(tmp_path)[0] == first
    assert [(line["step"], line["loss"], line["rate"]) for line in lines(tmp_path)] == [(2, 1.5, 0.5), (3, 4.0, 0.25)]
    assert (first["prompt"], "prompt" in lines(tmp_path)[1]) == (5.0, False)


def test_lines_after_the_resumed_step_and_half_lines_are_dropped_and_seconds_go_on(tmp_path: Path) -> None:
    old = [{"step": 20, "loss": 1.0, "seconds": 50.0}, {"step": 30, "held_out_j": 0.5}, {"step": 31, "seconds": 99.0}]
    text = "".join(json.dumps(line) + "\n" for line in old)
    (tmp_path / LOG_NAME).write_text(text + '{"step": 25, "lo')
    with RunLog(tmp_path, finished_steps=30) as log:
        log.collect({"loss": 0.5}, waited=0.0)
        log.write_means(40, {})
    assert lines(tmp_path)[:2] == old[:2]
    assert [line["step"] for line in lines(tmp_path)] == [20, 30, 40]
    assert 50 <= lines(tmp_path)[2]["seconds"] < 99


def test_held_out_scores_have_a_line_of_their_own(tmp_path: Path) -> None:
    with RunLog(tmp_path, finished_steps=0) as log:
        log.write_validation(5, 0.5, {"a": 0.25, "b": 0.75})
    assert lines(tmp_path) == [{"step": 5, "held_out_j": 0.5, "held_out": {"a": 0.25, "b": 0.75}}]


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, finished_steps=0) as log:
        for step in (1, 2, 3):
            log.collect({"loss": float(step)}, waited=0.0)
            log.write_means(step, {})
        log.write_validation(3, 0.5, {"a": 0.5})
    with RunLog(tmp_path, finished_steps=2) as log:  # step 3 is done again
        log.collect({"loss": 30.0}, waited=0.0)
        log.write_means(3, {})
    written = events.EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER))
    written.Reload()
    assert [(event.step, event.value) for event in written.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert "step" not in written.Tags()["scalars"]


def test_log_is_complete_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with RunLog(tmp_path, finished_steps=0) as log:
        log.collect({"loss": 1.0}, waited=0.0)
        log.write_means(1, {})
    assert len(lines(tmp_path)) == 1
    assert not (tmp_path / TENSORBOARD_FOLDER).exists()
