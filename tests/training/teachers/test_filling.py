"""Filling a cache: every clip of a recipe once, whoever makes it, and what training then asks is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.training.batches import iterate_steps
from sam2lite_mobile.training.processes import Processes
from sam2lite_mobile.training.teachers.cache import CachedTeacher
from sam2lite_mobile.training.teachers.filling import fill_cache, found_and_made
from sam2lite_mobile.training.teachers.teacher import TeacherFrame
from tests.training.short_runs import STEPS, short_recipe
from tests.training.teachers.scripted_teacher import ScriptedTeacher


class NotingTeacher(ScriptedTeacher):
    """Remembers the clips that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.clips: list[bytes] = []

    def track(self, frames: Tensor, first_mask: Tensor) -> list[TeacherFrame]:
        self.clips.append(frames.numpy().tobytes() + first_mask.numpy().tobytes())
        return super().track(frames, first_mask)


def clips_of_training(data_root: Path) -> list[bytes]:
    return [
        frames.numpy().tobytes() + masks[0].numpy().tobytes()
        for batch in iterate_steps(data_root, short_recipe(), range(short_recipe().steps), workers=0)
        for frames, masks in zip(batch.frames, batch.masks, strict=True)
    ]


def test_two_processes_answer_each_clip_of_training_once(small_data: Path, tmp_path: Path) -> None:
    asked, done = [], []
    for rank in (0, 1):
        teacher = NotingTeacher()
        cached = CachedTeacher(teacher, tmp_path)
        done.append(fill_cache(cached, short_recipe(), small_data, rank=rank, count=2))
        assert (cached.counts.hits, cached.counts.misses) == (0, 2)
        asked.append(teacher.clips)
    clips = clips_of_training(small_data)
    assert len(set(clips)) == STEPS
    assert asked == [clips[0::2], clips[1::2]]  # four steps of one clip, the last in a phase of its own
    assert done == [2, 2]
    trained = NotingTeacher()
    cached = CachedTeacher(trained, tmp_path)
    for batch in iterate_steps(small_data, short_recipe(), range(short_recipe().steps), workers=0):
        cached.track(batch.frames[0], batch.masks[0, 0])
    assert trained.clips == []
    assert cached.counts.hits == STEPS


def test_stopped_call_goes_on_where_it_was(small_data: Path, tmp_path: Path) -> None:
    first, seen = CachedTeacher(NotingTeacher(), tmp_path), []
    stopped = fill_cache(first, short_recipe(), small_data, on_step=seen.append, stop=lambda: first.counts.misses == 3)
    assert (stopped, seen) == (3, [1, 2, 3])
    second = CachedTeacher(NotingTeacher(), tmp_path)
    assert fill_cache(second, short_recipe(), small_data) == STEPS
    assert (second.counts.hits, second.counts.misses) == (3, 1)


def test_only_the_first_steps_are_answered_if_asked(small_data: Path, tmp_path: Path) -> None:
    teacher = NotingTeacher()
    assert fill_cache(CachedTeacher(teacher, tmp_path), short_recipe(), small_data, steps=2) == 2
    assert teacher.clips == clips_of_training(small_data)[:2]
    assert fill_cache(CachedTeacher(teacher, tmp_path), short_recipe(), small_data, steps=99) == STEPS


def test_every_clip_of_a_batch_is_answered_and_counted(small_data: Path, tmp_path: Path) -> None:
    cached = CachedTeacher(NotingTeacher(), tmp_path)
    assert fill_cache(cached, short_recipe(batch_clips=3), small_data) == 2  # 3 clips, and 1 rounded up to a batch
    totals = found_and_made(cached, Processes())
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert totals == {"found": 0, "made": 6, "replaced": 0, "megabytes": size / 1e6}


@pytest.mark.parametrize("rank", [-1, 2])
def test_rank_outside_of_the_processes_is_refused(small_data: Path, tmp_path: Path, rank: int) -> None:
    with pytest.raises(ContractError, match="0 to 1"):
        fill_cache(CachedTeacher(NotingTeacher(), tmp_path), short_recipe(), small_data, rank=rank, count=2)
