"""`sam2lite ablate`: the tables of finished runs, without training again; and wrong calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.evaluation.results import read_result
from sam2lite_mobile.training.ablation.outcome import Outcome, RunScore
from sam2lite_mobile.training.ablation.suite_run import SCORE_NAME, Task, tasks
from sam2lite_mobile.training.ablation.suites import DISTILLATION
from tests.cli.conftest import Call
from tests.media.clips import write_davis


def finish(task: Task, *, jf: float) -> None:
    """Leave what a run leaves when it is finished."""
    task.folder.mkdir(parents=True)
    score = RunScore(task.variant, task.seed, task.recipe.digest(), 440, 60.0, jf, jf, {"rhino": jf})
    (task.folder / SCORE_NAME).write_bytes(msgspec.json.encode(score))


def test_tables_are_written_from_finished_runs(sam2lite: Callable[..., Call], tmp_path: Path) -> None:
    out, report = tmp_path / "runs", tmp_path / "docs"
    wanted = tasks(DISTILLATION, base=DISTILLATION.base(), seeds=1, out=out, data_root=tmp_path)
    for index, task in enumerate(wanted):
        finish(task, jf=0.6 - index / 100)
    arguments = ("--suite", "distillation", "--out", out, "--data", tmp_path, "--seeds", 1, "--report", report)
    call = sam2lite("ablate", *arguments)
    assert call.status == 0, call.err
    assert "without attention matching" in call.out
    assert call.out.endswith(f"written: {report / 'distillation.json'} and {report / 'distillation.md'}\n")
    outcome = msgspec.json.decode((report / "distillation.json").read_bytes(), type=Outcome)
    assert [run.variant for run in outcome.runs] == [variant.name for variant in DISTILLATION.variants]
    assert "| no teacher | 1 | 55.0 | 0.0 | -5.0 | 0.0 | -6.6 |" in (report / "distillation.md").read_text()
    assert "7 of 7 runs are trained: plain_patches-0" in call.err


def test_runs_of_another_base_recipe_are_not_mixed_in(sam2lite: Callable[..., Call], tmp_path: Path) -> None:
    recipe = tmp_path / "other.toml"
    recipe.write_text(
        'name = "other"\nstudent = "nano"\nhold_out = ["rhino"]\n[distillation]\nteacher = "own:nano"\n'
        "[[phases]]\nclips = 4\nframes = 2\n"
    )
    wanted = tasks(DISTILLATION, base=DISTILLATION.base(), seeds=1, out=tmp_path, data_root=tmp_path)
    finish(wanted[0], jf=0.5)
    arguments = ("--suite", "distillation", "--out", tmp_path, "--data", tmp_path, "--recipe", recipe)
    call = sam2lite("ablate", *arguments)
    assert call.status == 2
    assert "run full-0: expected the recipe of this ablation, got a score of another recipe" in call.err


@pytest.mark.parametrize(
    ("suite", "recipe", "message"),
    [
        ("attention", "ablation_distillation", "--suite: expected distillation or inference, got 'attention'"),
        ("distillation", "nano_cpu", "base recipe nano_cpu: expected a teacher, and held-out sequences to score on"),
        ("distillation", "nowhere", "expected ablation_distillation"),
    ],
)
def test_wrong_calls_exit_with_2(
    sam2lite: Callable[..., Call], tmp_path: Path, suite: str, recipe: str, message: str
) -> None:
    call = sam2lite("ablate", "--suite", suite, "--recipe", recipe, "--out", tmp_path / "out", "--data", tmp_path)
    assert call.status == 2
    assert message in call.err
    assert not (tmp_path / "out").exists()


def test_inference_writes_results_tables_and_plot(sam2lite: Callable[..., Call], tmp_path: Path) -> None:
    data, out = write_davis(tmp_path / "d", ["square"], frames=4), tmp_path / "out"
    arguments = ("--suite", "inference", "--engine", "scripted", "--data", data, "--out", out, "--size", 304)
    chosen = ("--variants", "size,budget_256", "--rounds", 1)
    call = sam2lite("ablate", *arguments, *chosen)
    assert call.status == 0, call.err
    assert "256 px" in call.out
    assert sorted(path.name for path in out.iterdir()) == [
        "budget_256.json",
        "default.json",
        "inference.json",
        "inference.md",
        "inference_pareto.svg",
        "size_256.json",
        "times.json",
    ]
    assert read_result(out / "size_256.json").conditions.size == 256
    assert read_result(out / "budget_256.json").conditions.budget == 256
    again = sam2lite("ablate", *arguments, *chosen)
    assert again.status == 0
    assert again.out == call.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "inference", "--seeds", 2), "--seeds: expected --suite distillation, got --suite inference"),
        (
            ("--suite", "distillation", "--split", "dev"),
            "--split: expected --suite inference, got --suite distillation",
        ),
        (("--suite", "inference"), "--data: expected a folder with JPEGImages/ and Annotations/"),
        (("--suite", "inference", "--data", ".", "--size", 300), "--size: expected 256 304"),
        (("--suite", "other"), "--suite: expected distillation or inference, got 'other'"),
    ],
)
def test_options_of_the_other_suite_and_wrong_calls_make_nothing(
    sam2lite: Callable[..., Call],
    tmp_path: Path,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    call = sam2lite("ablate", "--out", tmp_path / "out", *arguments)
    assert call.status == 2
    assert message in call.err
    assert not (tmp_path / "out").exists()
