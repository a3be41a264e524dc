"""The training loop: stopped, killed and resumed runs end with the same bits, and bad numbers stop it in time."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sam2lite_mobile.errors import ContractError, DataError, GateError
from sam2lite_mobile.student.checkpoint import load_student, read_header
from sam2lite_mobile.training.batches import StepDataset, iterate_steps
from sam2lite_mobile.training.loop import SAMPLES_FOLDER, train
from sam2lite_mobile.training.optimization import learning_rate
from sam2lite_mobile.training.recipe import Phase
from sam2lite_mobile.training.run import BEST_NAME, CHECKPOINT_NAME, STATE_NAME, Run
from sam2lite_mobile.training.run_log import LOG_NAME
from sam2lite_mobile.training.run_options import RunOptions
from tests.repository import ROOT
from tests.training.short_runs import STEPS, assert_same_entries, read_entries, short_recipe
from tests.training.synthetic_data import write_data

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from typing import Any
import torch
from sam2lite_mobile.training.loop import train
from sam2lite_mobile.training.run_options import RunOptions
from tests.training.short_runs import short_recipe

torch.set_num_threads(1)
out, data = map(Path, sys.argv[1:])
options = RunOptions(out=out, data_root=data, workers=0, save_every=1, log_every=1, resume=True)
train(short_recipe(), options, on_step=lambda step, line: print(step, flush=True))
"""


def logged(folder: Path, name: str = "step") -> list[Any]:
    return [line[name] for line in map(json.loads, (folder / LOG_NAME).read_text().splitlines()) if name in line]


def assert_same_run(folder: Path, uninterrupted: Path) -> None:
    """The folder holds what an uninterrupted run left: weights, average, moments, checkpoint, every step's log line."""
    assert_same_entries(folder / STATE_NAME, uninterrupted / STATE_NAME)
    assert (folder / CHECKPOINT_NAME).read_bytes() == (uninterrupted / CHECKPOINT_NAME).read_bytes()
    assert logged(folder) == logged(uninterrupted) == list(range(1, STEPS + 1))
    assert logged(folder, "loss") == logged(uninterrupted, "loss")
    assert list(folder.glob(".*")) == []


def test_run_leaves_checkpoint_state_log_and_pictures(uninterrupted: Path) -> None:
    tensors, facts = read_entries(uninterrupted / STATE_NAME)
    assert facts["step"] == str(STEPS)
    header = read_header(uninterrupted / CHECKPOINT_NAME)[1]
    recipe = short_recipe()
    assert {name: header[name] for name in ("recipe", "recipe_hash", "steps", "clips")} == {
        "recipe": "short",
        "recipe_hash": recipe.digest(),
        "steps": "4",
        "clips": "4",
    }
    student = load_student(uninterrupted / CHECKPOINT_NAME)
    for name, value in student.state_dict().items():
        assert torch.equal(value, tensors[f"average.{name}"].half().float()), name
    assert not torch.equal(tensors["average.mask_decoder.queries"], tensors["student.mask_decoder.queries"])
    pictures = sorted((uninterrupted / SAMPLES_FOLDER).iterdir())
    # Every second step, and the end of the first phase.
    assert [path.name for path in pictures] == ["000002.png", "000003.png", "000004.png"]
    picture = cv2.imread(str(pictures[0]))
    assert picture is not None
    assert picture.shape == (256, 2 * 256, 3)


@pytest.mark.parametrize("stopped_after", [2, 3], ids=["in a phase", "between phases"])
def test_stopped_and_resumed_run_ends_with_the_same_bits(
    uninterrupted: Path, small_data: Path, tmp_path: Path, stopped_after: int
) -> None:
    out = tmp_path / "run"
    options = RunOptions(out=out, data_root=small_data, workers=0, log_every=1, stop_after=stopped_after)
    assert train(short_recipe(), options).steps == stopped_after
    assert read_entries(out / STATE_NAME)[1]["step"] == str(stopped_after)
    seen: list[int] = []
    resumed = replace(options, resume=True, stop_after=None)
    result = train(short_recipe(), resumed, on_step=lambda step, line: seen.append(step))
    assert seen == list(range(stopped_after, STEPS + 1))
    assert (result.steps, result.checkpoint) == (STEPS, out / CHECKPOINT_NAME)
    assert_same_run(out, uninterrupted)


def test_stop_is_asked_before_each_step_and_whole_steps_are_saved(
    uninterrupted: Path, small_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    finished: list[int] = []
    options = RunOptions(out=out, data_root=small_data, workers=0, log_every=1)
    result = train(
        short_recipe(), options, stop=lambda: finished[-1] == 1, on_step=lambda step, line: finished.append(step)
    )
    assert (result.steps, finished) == (1, [0, 1])
    train(short_recipe(), replace(options, resume=True, workers=1))
    assert_same_run(out, uninterrupted)


def test_run_killed_at_any_moment_leaves_a_whole_state_and_ends_with_the_same_bits(
    uninterrupted: Path, small_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", TRAIN_IN_ANOTHER_PROCESS, str(out), str(small_data)]
    delay = random.Random()  # a moment of its own in every run of this test
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "1":
        assert process.poll() is None
    wait = delay.uniform(0, 1.5)
    time.sleep(wait)
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL or logged(out)[-1] == STEPS, wait
    run = Run(short_recipe(), out)
    assert run.resume(), wait
    assert 1 <= run.step <= STEPS
    train(short_recipe(), RunOptions(out=out, data_root=small_data, workers=0, log_every=1, resume=True))
    assert_same_run(out, uninterrupted)


@pytest.fixture
def untouched(tmp_path: Path) -> Run:
    return Run(short_recipe(), tmp_path)


def assert_stops_and_changes_nothing(run: Run, small_data: Path, message: str) -> None:
    batch = StepDataset(small_data, run.recipe, 0).batch(0)
    before = {name: value.clone() for name, value in run.student.state_dict().items()}
    average = {name: value.clone() for name, value in run.average.state_dict().items()}
    with pytest.raises(GateError, match=message):
        run.advance(batch)
    assert run.step == 0
    assert run.optimizer.state == {}
    for name, value in run.student.state_dict().items():
        assert torch.equal(value, before[name]) or value.isnan().all(), name
    assert all(torch.equal(value, average[name]) for name, value in run.average.state_dict().items())
    saved, facts = read_entries(run.folder / "not_finite_000000.safetensors")
    for name in ("frames", "masks", "points", "labels"):
        assert torch.equal(saved[name], getattr(batch, name)), name
    assert facts == {"step": "0", "corrected_frame": str(batch.corrected_frame)}


def test_loss_that_is_not_finite_stops_before_the_step_and_saves_the_batch(untouched: Run, small_data: Path) -> None:
    with torch.no_grad():
        untouched.student.mask_decoder.bias.fill_(torch.nan)
    assert_stops_and_changes_nothing(untouched, small_data, "loss at step 0: expected a finite value, got nan; look at")


def test_gradient_that_is_not_finite_stops_before_the_step_and_saves_the_batch(
    untouched: Run, small_data: Path
) -> None:
    untouched.student.mask_decoder.bias.register_hook(lambda gradient: gradient * torch.inf)
    assert_stops_and_changes_nothing(untouched, small_data, "gradient norm at step 0: expected a finite value, got")


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_tell_of_draws_that_were_skipped(tmp_path: Path, workers: int) -> None:
    data = write_data(tmp_path / "data")
    (data / "train/video/davis2016-train/Annotations/roller/00004.png").write_bytes(b"no picture")
    recipe = short_recipe(phases=(Phase(clips=12, frames=4, video_share=1),))

    told: list[str] = []
    assert len(list(iterate_steps(data, recipe, range(recipe.steps), workers=workers, on_skipped=told.append))) == 12
    assert 1 <= len(told) <= 10
    assert all("roller/00004.png" in line for line in told)


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_data_stops_with_its_own_message_and_the_finished_steps_are_saved(tmp_path: Path, workers: int) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "run"
    for image in data.rglob("images/*/images/*.jpg"):
        image.write_bytes(b"no picture")
    phases = (Phase(clips=1, frames=2, video_share=1), Phase(clips=1, frames=2, video_share=0))
    with pytest.raises(DataError, match="expected a JPEG or PNG") as caught:
        train(short_recipe(phases=phases), RunOptions(out=out, data_root=data, workers=workers))
    assert "Traceback" not in str(caught.value)
    assert read_entries(out / STATE_NAME)[1]["step"] == "1"


def test_batches_are_the_same_from_any_step_and_any_number_of_workers(small_data: Path) -> None:
    recipe = short_recipe()
    whole = list(iterate_steps(small_data, recipe, range(recipe.steps), workers=0))
    assert len(whole) == STEPS
    assert not np.array_equal(whole[0].frames, whole[1].frames)
    for first, workers in ((0, 2), (2, 1), (3, 0)):
        rest = list(iterate_steps(small_data, recipe, range(first, recipe.steps), workers=workers))
        assert len(rest) == STEPS - first
        for batch, other in zip(whole[first:], rest, strict=True):
            for name in ("frames", "masks", "points", "labels"):
                assert torch.equal(getattr(batch, name), getattr(other, name)), name
            assert batch.corrected_frame == other.corrected_frame


def test_interrupt_that_reaches_a_worker_too_does_not_stop_its_batches(small_data: Path) -> None:
    batches = iterate_steps(small_data, short_recipe(), range(short_recipe().steps), workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    for _ in range(2):
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(batches)) == STEPS - 1


def test_step_moves_the_student_and_the_average_by_its_number(small_data: Path, tmp_path: Path) -> None:
    run = Run(short_recipe(), tmp_path)
    start = run.student.mask_decoder.queries.detach().clone()
    run.advance(StepDataset(small_data, run.recipe, 0).batch(0))
    queries, average = run.student.mask_decoder.queries, run.average.mask_decoder.queries
    assert run.step == 1
    assert not torch.equal(queries, start)
    torch.testing.assert_close(average, 0.1 * start + 0.9 * queries)  # the first step: (0 + 1) / (0 + 10) is kept
    rate = learning_rate(run.recipe, 0)
    assert (queries - start).abs().max().item() == pytest.approx(rate, rel=0.05)  # Adam's first step is the rate


def test_best_student_on_the_held_out_sequences_is_kept(small_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = short_recipe(phases=(Phase(clips=3, frames=2),), hold_out=("roller",))
    options = RunOptions(out=out, data_root=small_data, workers=0, validate_every=2, stop_after=2)
    train(recipe, options)
    header = read_header(out / BEST_NAME)[1]
    (first,) = logged(out, "held_out_j")
    assert (float(header["held_out_j"]), header["steps"]) == (first, "2")
    assert logged(out, "held_out") == [{"roller": first}]
    train(recipe, replace(options, resume=True, stop_after=None))  # and at the end, whatever the interval
    first, last = logged(out, "held_out_j")
    header = read_header(out / BEST_NAME)[1]
    assert (float(header["held_out_j"]), header["steps"]) == ((last, "3") if last > first else (first, "2"))
    weights = load_student(out / BEST_NAME).state_dict(), load_student(out / CHECKPOINT_NAME).state_dict()
    assert torch.equal(weights[0]["mask_decoder.queries"], weights[1]["mask_decoder.queries"]) is (last > first)


def test_folder_with_something_in_it_is_refused_unless_resumed(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    options = RunOptions(out=tmp_path, data_root=small_data)
    with pytest.raises(ContractError, match="expected a new or empty folder, got files; add --resume"):
        train(short_recipe(), options)
    (tmp_path / STATE_NAME).write_bytes(b"")
    with pytest.raises(ContractError, match=r"got a run \(state.safetensors\)"):
        train(short_recipe(), options)
    with pytest.raises(ContractError, match="expected a folder, got a file"):
        train(short_recipe(), replace(options, out=tmp_path / "notes.txt"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", STATE_NAME]


def test_missing_data_and_held_out_names_are_refused_before_the_folder_is_made(
    small_data: Path, tmp_path: Path
) -> None:
    options = RunOptions(out=tmp_path / "run", data_root=tmp_path / "nowhere")
    with pytest.raises(DataError, match="training videos: expected data sets in"):
        train(short_recipe(), options)
    options = replace(options, data_root=small_data)
    with pytest.raises(DataError, match="got rollerr; correct the names"):
        train(short_recipe(hold_out=("rollerr",)), options)
    with pytest.raises(ContractError, match="validation: expected held-out sequences, got none in the recipe"):
        train(short_recipe(), replace(options, validate_every=1))
    assert not options.out.exists()


@pytest.mark.parametrize(
    "change", [{"save_every": 0}, {"log_every": 0}, {"stop_after": 0}, {"workers": -1}, {"validate_every": -1}]
)
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    (name,) = change
    with pytest.raises(ContractError, match=f"{name}: expected [01] or more"):
        RunOptions(out=tmp_path, data_root=tmp_path, **change)  # type: ignore[arg-type]


def test_leftovers_of_a_killed_process_are_removed(uninterrupted: Path, small_data: Path, tmp_path: Path) -> None:
    for name in (STATE_NAME, CHECKPOINT_NAME, LOG_NAME):
        os.link(uninterrupted / name, tmp_path / name)
    (tmp_path / f".{STATE_NAME}.123.partial").write_bytes(b"half")
    train(short_recipe(), RunOptions(out=tmp_path, data_root=small_data, resume=True))
    assert list(tmp_path.glob(".*")) == []
