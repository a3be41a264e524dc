"""Running a suite: finished runs are kept, stopped ones go on, other recipes are refused."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Queue

import msgspec
import pytest

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.training.ablation.outcome import read_score
from sam2lite_mobile.training.ablation.suite_run import (
    SCORE_NAME,
    Progress,
    Task,
    is_finished,
    outcome_of,
    run_suite,
    run_task,
    tasks,
)
from sam2lite_mobile.training.ablation.suites import DISTILLATION, Suite, Variant
from sam2lite_mobile.training.recipe import Phase
from tests.training.short_runs import short_recipe

SHORT = short_recipe(phases=(Phase(clips=2, frames=2),), precision="fp32", hold_out=("roller",))


def task(out: Path, data: Path, *, seed: int = 0) -> Task:
    return Task("full", seed, msgspec.structs.replace(SHORT, seed=seed), out / f"full-{seed}", out / "teacher", data)


def test_suite_runs_seed_by_seed_in_folders_of_their_own(tmp_path: Path) -> None:
    base = DISTILLATION.base()
    wanted = tasks(DISTILLATION, base=base, seeds=2, out=tmp_path, data_root=tmp_path)
    assert [each.name for each in wanted[:2]] == ["full-0", "no_attention-0"]
    assert [each.seed for each in wanted] == [0] * 7 + [1] * 7
    assert len({each.folder for each in wanted}) == 14
    assert {each.cache for each in wanted} == {tmp_path / "teacher"}


def test_task_trains_scores_and_reports_its_steps(tmp_path: Path, small_data: Path) -> None:
    reports: Queue[Progress] = Queue()
    one = task(tmp_path, small_data)
    assert not is_finished(one)
    score = run_task(one, reports, threading.Event())
    assert score is not None
    assert (score.variant, score.seed, score.clips) == ("full", 0, 2)
    assert score.recipe_hash == one.recipe.digest()
    assert list(score.by_sequence) == ["roller"]
    assert score.j == score.by_sequence["roller"]
    assert 0 <= score.f <= 1
    assert read_score(one.folder / SCORE_NAME) == score
    assert [reports.get() for _ in range(reports.qsize())] == [Progress("full-0", step, 2) for step in (0, 1, 2)]
    assert is_finished(one)
    other = msgspec.structs.replace(one.recipe, learning_rate=0.5)
    with pytest.raises(ContractError, match="expected the recipe of this ablation"):
        is_finished(Task("full", 0, other, one.folder, one.cache, small_data))


def test_stopped_task_leaves_a_state_and_no_score(tmp_path: Path, small_data: Path) -> None:
    ending = threading.Event()

    class StopAfterOne(Queue[Progress]):
        def put(self, item: Progress, block: bool = True, timeout: float | None = None) -> None:
            if item.step == 1:
                ending.set()

    one = task(tmp_path, small_data)
    assert run_task(one, StopAfterOne(), ending) is None
    assert (one.folder / "state.safetensors").exists()
    assert not is_finished(one)
    assert run_task(one, Queue(), ending) is None  # still ending: nothing is begun
    score = run_task(one, Queue(), threading.Event())
    assert score is not None


@pytest.mark.slow
def test_processes_share_the_runs_and_a_second_call_takes_what_is_finished(tmp_path: Path, small_data: Path) -> None:
    wanted = [task(tmp_path, small_data, seed=seed) for seed in (0, 1)]
    seen: list[Progress] = []
    scores = run_suite(wanted, jobs=2, on_progress=seen.append)
    assert [score.seed for score in scores] == [0, 1]
    assert {progress.run for progress in seen if progress.step == 2} == {"full-0", "full-1"}
    before = [(each.folder / SCORE_NAME).stat().st_mtime_ns for each in wanted]
    again: list[Progress] = []
    assert run_suite(wanted, jobs=2, on_progress=again.append) == scores
    assert again == [Progress("full-0", 2, 2), Progress("full-1", 2, 2)]
    assert [(each.folder / SCORE_NAME).stat().st_mtime_ns for each in wanted] == before


@pytest.mark.slow
def test_error_of_a_run_is_raised_when_the_others_have_ended(tmp_path: Path, small_data: Path) -> None:
    with pytest.raises(DataError):
        run_suite([task(tmp_path, tmp_path / "nowhere")], jobs=1)


def test_nothing_finished_makes_no_table() -> None:
    suite = Suite("mine", "smoke", (Variant("full", "full", lambda recipe: recipe),))
    with pytest.raises(DataError, match="expected a finished run, got none"):
        outcome_of(suite, [], base=SHORT)
