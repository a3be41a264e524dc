"""Asking a teacher about every clip of a recipe before training does, shared between processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.training.batches import iterate_steps
from sam2lite_mobile.training.processes import Processes
from sam2lite_mobile.training.recipe import Recipe
from sam2lite_mobile.training.teachers.cache import CachedTeacher


def fill_cache(
    teacher: CachedTeacher,
    recipe: Recipe,
    data_root: Path,
    *,
    rank: int = 0,
    count: int = 1,
    steps: int | None = None,
    workers: int = 0,
    on_step: Callable[[int], None] = lambda done: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Answer the clips of a recipe's steps, and give back how many of them are done. What is there is not made again.

    Of the first `steps` steps (all if None), this process takes those with step % count == rank, so that `count`
    processes that share a folder answer each clip once. A step's clips are those that training will have, so its
    answers are found. workers: processes that make clips ahead. on_step: told the number of steps done; stop: asked
    before each.
    Raises ContractError for a rank outside of 0..count - 1, DataError for broken data, and what the teacher raises.
    """
    if not 0 <= rank < count:
        raise ContractError(
            explain("rank of a process", expected=f"0 to {count - 1}", got=rank, do="give each process its own")
        )
    last = recipe.steps if steps is None else min(steps, recipe.steps)
    done = 0
    with closing(iterate_steps(data_root, recipe, range(rank, last, count), workers=workers)) as batches:
        while not stop():
            batch = next(batches, None)
            if batch is None:
                break
            for frames, masks in zip(batch.frames, batch.masks, strict=True):
                teacher.track(frames, masks[0])
            done += 1
            on_step(done)
    return done


def found_and_made(teacher: CachedTeacher, processes: Processes) -> dict[str, float]:
    """Clips `found`, `made` and `replaced`, and `megabytes` written (MB = 10^6 bytes), summed over all processes.

    Every process has to call it.
    """
    counts = teacher.counts
    numbers = {"found": counts.hits, "made": counts.misses, "replaced": counts.replaced}
    return processes.add_up_numbers({**numbers, "megabytes": counts.bytes_written / 1e6})
