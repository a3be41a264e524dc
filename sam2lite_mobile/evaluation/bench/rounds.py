"""Interleaved rounds: every round runs one frame of every subject, so that all meet the same state of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.evaluation.bench.subjects import TOTAL, FrameTimes, Subject

Observer = Callable[[str], None]
"""Called with the name of a subject after each of its frames."""


@dataclass(frozen=True)
class PairedRatio:
    """Time of a subject over that of another in the same round: the median over the rounds, on both clocks."""

    wall: float
    cpu: float
    wall_low: float
    wall_high: float


def run_rounds(
    subjects: Sequence[Subject], *, rounds: int, warm_up: int, on_frame: Observer | None = None
) -> dict[str, list[FrameTimes]]:
    """Frames by subject, one a round; the first `warm_up` rounds are run and thrown away. Subjects are prepared."""
    frames: dict[str, list[FrameTimes]] = {subject.facts.name: [] for subject in subjects}
    for index in range(warm_up + rounds):
        for subject in subjects:
            times = subject.step()
            if index >= warm_up:
                frames[subject.facts.name].append(times)
            if on_frame is not None:
                on_frame(subject.facts.name)
    return frames


def part_times(frames: Sequence[FrameTimes]) -> dict[str, list[Times]]:
    """Times by part, in the order in which parts are named; a part that did not run on a frame took no time."""
    names = dict.fromkeys(name for frame in frames for name in frame.parts)
    return {name: [frame.parts.get(name, Times(0.0, 0.0)) for frame in frames] for name in names}


def paired_ratio(frames: Sequence[FrameTimes], others: Sequence[FrameTimes], *, part: str = TOTAL) -> PairedRatio:
    """Ratio of whole frames, or of a part that both have on every frame, round by round, then the median.

    low and high are the quartiles of the wall clock.
    """
    pairs = [(frame.parts[part], other.parts[part]) for frame, other in zip(frames, others, strict=True)]
    wall = [mine.wall_ms / theirs.wall_ms for mine, theirs in pairs]
    cpu = [mine.cpu_ms / theirs.cpu_ms for mine, theirs in pairs]
    low, median, high = statistics.quantiles(wall, n=4, method="inclusive") if len(wall) > 1 else (wall * 3)
    return PairedRatio(median, statistics.median(cpu), low, high)
