"""A device for the scheduler's tests: a cost by size, a load and noise by frame, time stamps without a clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sam2lite_mobile.runtime.scheduler import Decision, Measurement, Scheduler


@dataclass(frozen=True)
class PacedFrame:
    """One frame: what it ran with, its time, and its time without noise as a share of the target."""

    decision: Decision
    frame_ms: float
    expected_share: float


def area_cost(size: int, *, fixed: float = 0.0) -> float:
    """Relative cost of a frame of which a share is fixed and the rest grows with the area."""
    return fixed + (1 - fixed) * (size / 512) ** 2


def run_paced(
    scheduler: Scheduler,
    loads: Sequence[float],
    *,
    cost: Callable[[int], float] = area_cost,
    target_ms: float = 100.0,
    jitter: float = 0.0,
    seed: int = 0,
    start_ms: float = 0.0,
) -> list[PacedFrame]:
    """Frames of `load x cost(size) x target` milliseconds, with uniform noise of +-`jitter`."""
    noise = random.Random(seed)
    time_ms = start_ms
    seen = []
    for load in loads:
        decision = scheduler.decision
        share = load * cost(decision.size)
        frame_ms = share * target_ms * (1 + jitter * (2 * noise.random() - 1))
        time_ms += frame_ms
        scheduler.observe(Measurement(frame_ms, time_ms))
        seen.append(PacedFrame(decision, frame_ms, share))
    return seen


def sizes_of(frames: Sequence[PacedFrame]) -> list[int]:
    return [frame.decision.size for frame in frames]


def settling(frames: Sequence[PacedFrame], *, tolerance: float = 1.1) -> int:
    """Frames until all that follow are at a level that keeps the target."""
    late = [index for index, frame in enumerate(frames) if frame.expected_share > tolerance]
    return late[-1] + 1 if late else 0


def most_changes(sizes: Sequence[int], *, within: int = 10) -> int:
    """The most changes of the size in any `within` changes of frame."""
    changed = [first != second for first, second in pairwise(sizes)]
    return max((sum(changed[start : start + within]) for start in range(len(changed))), default=0)
