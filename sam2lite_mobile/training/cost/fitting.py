"""The most clips that go through the student at once on a GPU, found by trying until its memory is full."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.run import Run

MOST_CLIPS = 1024
"""No more are tried."""
TRIED_STEPS = 4
"""Steps of every trial: what a step draws (a prompted first frame is one frame more) decides what it holds."""


def check_device(device: torch.device) -> None:
    """Raise ContractError unless the device is a GPU: a CPU swaps or kills where its memory is full."""
    if device.type != "cuda":
        raise ContractError(
            explain("--fit-batch", expected="a GPU", got=f"the device {device.type}", do="leave it out on this machine")
        )


def largest_that_fits(fits: Callable[[int], bool], *, start: int, most: int = MOST_CLIPS) -> int:
    """The largest number in 1..most for which `fits` holds, if it holds up to some number and for none above; else 0.

    Tries start, then twice as many each time, then halves the gap between what fits and what does not.
    """
    fitting, failing = 0, most + 1
    tried = min(start, most)
    while fitting + 1 < failing:
        if fits(tried):
            fitting = tried
        else:
            failing = tried
        tried = min(2 * fitting, most) if failing > most else (fitting + failing) // 2
    return fitting


def largest_micro_clips(run: Run, sample: ClipBatch, *, size: int, start: int, stop: Callable[[], bool]) -> int | None:
    """Clips of `size` pixels that a step of a run holds at once; 0 if not even one, None once `stop()` says so.

    sample: clips to try with, resized and repeated. The run takes steps from where it is and comes back to that step;
    its weights are of no use afterwards. Raises ContractError where the device is not a GPU.
    """
    check_device(run.processes.device)
    run.micro_clips = None
    first = run.step

    def fits(clips: int) -> bool:
        if stop():
            return False
        try:
            batch = grown(sample, clips=clips, size=size)
            for step in range(first, first + TRIED_STEPS):
                run.step = min(step, run.recipe.steps - 1)
                run.advance(batch)
        except torch.OutOfMemoryError:
            return False
        finally:
            run.step = first
            run.optimizer.zero_grad(set_to_none=True)
            gc.collect()  # the error's traceback holds the tensors of the step that failed
            torch.cuda.empty_cache()
        return True

    found = largest_that_fits(fits, start=start)
    return None if stop() else found


def grown(batch: ClipBatch, *, clips: int, size: int) -> ClipBatch:
    """A batch of its own: `clips` clips of `size` pixels, made of those of another, repeated in turn."""
    rows = torch.arange(clips) % batch.count
    frames = _resized(batch.frames.permute(0, 1, 4, 2, 3)[rows], size).permute(0, 1, 3, 4, 2).contiguous()
    return replace(
        batch,
        frames=frames,
        masks=_resized(batch.masks[rows], size),
        points=batch.points[rows],
        labels=batch.labels[rows],
        first_row=0,
        all_rows=clips,
    )


def _resized(images: Tensor, size: int) -> Tensor:
    """uint8 (..., R, R) as (..., size, size): the nearest pixel."""
    flat = images.reshape(1, -1, *images.shape[-2:])
    return F.interpolate(flat, (size, size), mode="nearest").reshape(*images.shape[:-2], size, size)
