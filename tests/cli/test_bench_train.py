"""`sam2lite bench-train` from the arguments to the tables and the result file; Ctrl-C and wrong calls."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.cost import measure
from sam2lite_mobile.training.cost.results import read_cost
from sam2lite_mobile.training.run import Run as TrainingRun
from tests.cli.conftest import Call
from tests.training.synthetic_data import write_data

Run = Callable[..., Call]

RECIPE = """
name = "short"
student = "nano"
stem = "random"
precision = "fp32"
batch_clips = 1
hold_out = []
{more}
[[phases]]
clips = {clips}
frames = 2
[[phases]]
clips = 2
frames = 3
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "short.toml"
    path.write_text(RECIPE.format(clips=3, more=""))
    return path


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def speed_asked(monkeypatch: pytest.MonkeyPatch) -> list[range]:
    """Steps that a worker alone was timed on; it makes 12.5 clips a second."""
    asked: list[range] = []

    def fixed(data_root: Path, recipe: object, steps: range, **options: object) -> float:
        asked.append(steps)
        return 12.5

    monkeypatch.setattr(measure, "worker_speed", fixed)
    return asked


def advance_quickly(run: TrainingRun, batch: ClipBatch) -> None:
    """A step that goes back through one number."""
    torch.ones(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]


def test_phases_reach_the_tables_and_the_file(
    sam2lite: Run,
    data: Path,
    recipe: Path,
    tmp_path: Path,
    speed_asked: list[range],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TrainingRun, "advance", advance_quickly)
    path = tmp_path / "cost.json"
    arguments = ("--recipe", recipe, "--data", data, "--threads", 1, "--workers", 0, "--steps", 1, "--warm-up", 1)
    call = sam2lite("bench-train", *arguments, "--micro-clips", 1, "--json", path)
    assert call.status == 0, call.err
    cost = read_cost(path)
    assert [(phase.first_step, phase.warm_up_steps, phase.times.steps) for phase in cost.phases] == [
        (0, 1, 1),
        (3, 1, 1),
    ]
    assert (cost.conditions.workers, cost.conditions.threads, cost.conditions.micro_clips) == (0, 1, 1)
    assert speed_asked == [range(0, 3), range(3, 5)]  # three untimed, one timed, as far as there are any
    for phase in cost.phases:
        assert f"{phase.times.clips_per_s:.2f}" in call.out
        assert phase.data.limited_by in call.out
        assert phase.times.shares is not None
        assert f"{100 * phase.times.shares.forward:.1f}" in call.out
    for text in ("1: 2 frames", "2: 3 frames", "1x256", "12.50", "waiting for data", "timed: wall clock of one step"):
        assert text in call.out
    assert "recipe short" in call.out
    assert "batches of 1 clips in pieces of 1" in call.out


def test_recipe_of_synthetic_data_needs_no_folder_and_leaves_none(
    sam2lite: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(TrainingRun, "advance", lambda run, batch: None)
    recipe = tmp_path / "drawn.toml"
    recipe.write_text(RECIPE.format(clips=2, more='data = "synthetic"'))
    call = sam2lite("bench-train", "--recipe", recipe, "--workers", 0, "--steps", 1, "--warm-up", 0)
    assert call.status == 0, call.err
    assert "data synthetic" in call.out
    assert list((tmp_path / "temporary").iterdir()) == []


def test_interrupt_ends_with_130_and_writes_nothing(
    sam2lite: Run, data: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def advance(run: TrainingRun, batch: ClipBatch) -> None:
        taken.append(run.step)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingRun, "advance", advance)
    before = set(tmp_path.iterdir())
    call = sam2lite("bench-train", "--recipe", recipe, "--data", data, "--workers", 0, "--json", tmp_path / "cost.json")
    assert (call.status, call.out, call.err) == (130, "", "")
    assert taken == [0]
    assert set(tmp_path.iterdir()) == before


def test_wrong_calls_are_one_line_and_measure_nothing(
    sam2lite: Run, data: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "Run", None)
    bad = tmp_path / "bad.toml"
    bad.write_text(RECIPE.format(clips=0, more=""))
    for arguments, message in (
        (("--recipe", "nano_gpu", "--data", data), "recipe: expected"),
        (("--recipe", bad, "--data", data), "clips >= 1"),
        (("--recipe", recipe, "--data", tmp_path / "none"), f"got no such folder: {tmp_path}/none; set SAM2LITE_DATA"),
        (
            ("--recipe", recipe, "--data", data, "--device", "cpu", "--fit-batch"),
            "--fit-batch: expected a GPU, got the",
        ),
        (("--recipe", recipe, "--data", data, "--device", "tpu"), "device: expected auto or cpu or cuda, got tpu"),
        (("--recipe", recipe, "--data", data, "--json", tmp_path / "no" / "c.json"), "--json: expected a file in an"),
    ):
        call = sam2lite("bench-train", *arguments)
        assert call.status == 2
        assert message in call.err
        assert call.err.count("\n") == 1
        assert call.out == ""
