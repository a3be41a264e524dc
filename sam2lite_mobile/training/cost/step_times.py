"""The time of one training step and of its parts, taken from outside: the run itself holds no clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.run import Run

TIMER_SCOPE = (
    "wall clock of one step: waiting for its batch, then Run.advance (batch to the device, forward, losses, backward, "
    "clipping, optimiser, moving average) until the device has finished; building the run, the warm-up, saving, "
    "logging, pictures and held-out scores are outside"
)
"""What is inside the timer."""

Clock = Callable[[], float]
"""Seconds, from a start of its own; only differences mean something."""


@dataclass(frozen=True)
class PartTimes:
    """Seconds within `Run.advance`.

    forward: all before each backward, with the batch's way to the device, a teacher's answers and the losses.
    update: all after the last backward: clipping, optimiser, moving average.
    """

    forward: float
    backward: float
    update: float


@dataclass(frozen=True)
class StepTimes:
    """One step: seconds it waited for its batch and seconds of `Run.advance`, for clips of `size` pixels.

    processor: seconds of all threads of this process within `Run.advance`; on a machine that is shared, wall time holds
    other people's work as well. parts: None where the run did not go back through `Tensor.backward`.
    """

    size: int
    waited: float
    advanced: float
    processor: float
    parts: PartTimes | None

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.waited + self.advanced


def device_clock(device: torch.device) -> Clock:
    """A clock that lets a GPU finish what it was given before it is read: otherwise it tells when work was queued."""
    if device.type != "cuda":
        return time.perf_counter

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read


def timed_advance(run: Run, batch: ClipBatch, *, waited: float, clock: Clock) -> StepTimes:
    """Take one step of a run, and its times. Raises what `Run.advance` raises."""
    began, began_processor = clock(), time.process_time()
    with backward_calls(clock) as calls:
        run.advance(batch)
    ended, ended_processor = clock(), time.process_time()
    return StepTimes(
        size=int(batch.frames.shape[2]),
        waited=waited,
        advanced=ended - began,
        processor=ended_processor - began_processor,
        parts=part_times(began, calls, ended),
    )


def part_times(began: float, calls: list[tuple[float, float]], ended: float) -> PartTimes | None:
    """The parts of a step from the start and end of each backward within it; None where there was none."""
    if not calls:
        return None
    backward = sum(end - start for start, end in calls)
    last = calls[-1][1]
    return PartTimes(forward=last - began - backward, backward=backward, update=ended - last)


@contextmanager
def backward_calls(clock: Clock) -> Iterator[list[tuple[float, float]]]:
    """Start and end of every call of `Tensor.backward` within the block, in a list that grows.

    The method of all tensors is exchanged for as long as the block runs: torch has no hook at the start of a backward
    pass, and a profiler would slow down what is measured.
    """
    calls: list[tuple[float, float]] = []
    original = torch.Tensor.backward

    def timed(tensor: torch.Tensor, *arguments: Any, **options: Any) -> None:
        began = clock()
        original(tensor, *arguments, **options)  # type: ignore[no-untyped-call]
        calls.append((began, clock()))

    torch.Tensor.backward = timed  # type: ignore[method-assign, assignment]
    try:
        yield calls
    finally:
        torch.Tensor.backward = original  # type: ignore[method-assign]
