"""The fixed setting and the scheduler under the same real load, sequence by sequence: rate, J&F, share on target.

Rate and J&F of a side are of the same frames of the same run. The sides take turns at going first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.evaluation.adaptive.load_generator import LoadGenerator, Pulses
from sam2lite_mobile.evaluation.adaptive.step_response import ON_TARGET, SETTLING_LIMIT
from sam2lite_mobile.evaluation.bench.conditions import load_average
from sam2lite_mobile.evaluation.bootstrap import paired_interval
from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.evaluate import evaluate_sequence
from sam2lite_mobile.evaluation.pacing import FIXED, SECOND_MS, Pace, Step, TargetPace
from sam2lite_mobile.evaluation.prompting import PromptKind
from sam2lite_mobile.evaluation.results import SequenceResult, summarize
from sam2lite_mobile.media.json_file import write_json
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.frame_result import FrameResult
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.video_tracker import VideoTracker

SCHEMA_VERSION = 1
RATE_GOAL = 1.28
"""Adaptive over fixed under load, at least: methodology section 7, 31.2 over 24.3 frames a second."""
LOSS_GOAL = 1.0
"""Points of J&F that the scheduler may cost."""
ON_TARGET_GOAL = 0.95
"""Share of the settled frames that have to be on target."""
TARGET_OVER_FIXED = 1.35
"""Target over the rate of the fixed setting under load, where no target is given: the goal and a little more."""
Share = Annotated[float, Meta(ge=0, le=1)]
TOTAL = "total"


class SideResult(Struct, frozen=True, forbid_unknown_fields=True):
    """One side over all sequences. loaded_fps, quiet_fps: frames over the sum of their times, with and without load,
    prompted frames left out. sizes: frames by size under load. settled, on_target: frames from 15 on after each change
    of the load, and the share of them within 10 % of the target time. jf: J&F of all frames, 0..1."""

    jf: Share
    loaded_fps: float
    quiet_fps: float
    sizes: dict[int, int]
    settled: int
    on_target: Share
    sequences: list[SequenceResult]


class UnderLoadResult(Struct, frozen=True, forbid_unknown_fields=True):
    """Both sides. jf_lost: points, with the bounds of its interval (95 %, bootstrap over sequences). loads: the load
    average before and after, which counts our own processes too."""

    schema_version: int
    conditions: Conditions
    target_fps: float
    processes: int
    quiet_frames: int
    loaded_frames: int
    load_start: float | None
    load_end: float | None
    fixed: SideResult
    adaptive: SideResult
    rate: float
    jf_lost: float
    jf_lost_low: float
    jf_lost_high: float


@dataclass(frozen=True)
class LoadPlan:
    """What is run. target_fps: None for `TARGET_OVER_FIXED` times what the fixed side reaches in the first sequence."""

    sequences: tuple[str, ...]
    size: int
    window: int
    prompt: PromptKind
    target_fps: float | None
    processes: int
    pulses: Pulses
    max_frames: int | None


@dataclass(frozen=True)
class _LoadedPace:
    """Another pace, with the load switched before each frame."""

    pace: Pace
    pulses: Pulses
    generator: LoadGenerator

    def step_of(self, tracker: VideoTracker) -> Step:
        step = self.pace.step_of(tracker)
        index = -1

        def loaded_step(frame: NDArray[np.uint8], prompts: Mapping[int, Prompt] | None) -> FrameResult:
            nonlocal index
            index += 1
            self.generator.switch(self.pulses.loaded_at(index))
            return step(frame, prompts)

        return loaded_step


def run_under_load(
    engine: Engine,
    layout: DavisLayout,
    plan: LoadPlan,
    conditions: Conditions,
    *,
    on_frame: Callable[[str, int, int], None] | None = None,
) -> UnderLoadResult:
    """Both sides of every sequence. The engine has the sizes up to the plan's loaded and warmed up.

    conditions: of the fixed side. Every sequence needs one whole pulse of load at least, else ContractError.
    """
    for sequence in plan.sequences:
        frames, needed = len(layout.frames(sequence)[: plan.max_frames]), plan.pulses.quiet + plan.pulses.loaded
        if frames < needed:
            raise ContractError(
                explain(f"frames of {sequence}", expected=f"{needed} or more", got=frames, do="shorten the pulses")
            )
    sizes = tuple(size for size in engine.sizes if size <= plan.size)
    fixed: list[SequenceResult] = []
    adaptive: list[SequenceResult] = []
    target_fps = plan.target_fps
    load_start = load_average()
    with LoadGenerator(plan.processes) as generator:

        def run(sequence: str, pace: Pace) -> SequenceResult:
            side = "fixed" if pace is FIXED else "adaptive"
            result = evaluate_sequence(
                engine,
                layout,
                sequence,
                size=plan.size,
                window=plan.window,
                prompt=plan.prompt,
                pace=_LoadedPace(pace, plan.pulses, generator),
                max_frames=plan.max_frames,
                on_frame=None if on_frame is None else lambda _, done, total: on_frame(side, done, total),
            )
            generator.switch(False)
            return result

        for index, sequence in enumerate(plan.sequences):
            if target_fps is None:
                fixed.append(run(sequence, FIXED))
                target_fps = TARGET_OVER_FIXED * _fps(_times(fixed, plan.pulses, loaded=True))
                adaptive.append(run(sequence, TargetPace(target_fps, sizes)))
            elif index % 2:
                adaptive.append(run(sequence, TargetPace(target_fps, sizes)))
                fixed.append(run(sequence, FIXED))
            else:
                fixed.append(run(sequence, FIXED))
                adaptive.append(run(sequence, TargetPace(target_fps, sizes)))
    if target_fps is None:
        raise ContractError(explain("sequences", expected="one or more", got="none", do="name one"))
    sides = [side_result(each, plan.pulses, size=plan.size, target_fps=target_fps) for each in (fixed, adaptive)]
    interval = paired_interval(fixed, adaptive)
    return UnderLoadResult(
        schema_version=SCHEMA_VERSION,
        conditions=conditions,
        target_fps=target_fps,
        processes=plan.processes,
        quiet_frames=plan.pulses.quiet,
        loaded_frames=plan.pulses.loaded,
        load_start=load_start,
        load_end=load_average(),
        fixed=sides[0],
        adaptive=sides[1],
        rate=sides[1].loaded_fps / sides[0].loaded_fps,
        jf_lost=-interval.difference,
        jf_lost_low=-interval.high,
        jf_lost_high=-interval.low,
    )


def side_result(sequences: Sequence[SequenceResult], pulses: Pulses, *, size: int, target_fps: float) -> SideResult:
    """The figures of one side. size: of frames where a result does not list any."""
    limit_ms = ON_TARGET * SECOND_MS / target_fps
    settled = [
        time_ms
        for sequence in sequences
        for frame, time_ms in enumerate(sequence.latency_ms[TOTAL])
        if pulses.frames_since_change(frame) >= SETTLING_LIMIT
    ]
    sizes = Counter(
        used
        for sequence in sequences
        for frame, used in enumerate(sequence.sizes or [size] * sequence.frames)
        if pulses.loaded_at(frame)
    )
    return SideResult(
        jf=summarize(sequences).jf_mean,
        loaded_fps=_fps(_times(sequences, pulses, loaded=True)),
        quiet_fps=_fps(_times(sequences, pulses, loaded=False)),
        sizes=dict(sorted(sizes.items())),
        settled=len(settled),
        on_target=fmean(time_ms <= limit_ms for time_ms in settled) if settled else 0.0,
        sequences=list(sequences),
    )


def write_under_load(path: Path, result: UnderLoadResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    write_json(path, result)


def _times(sequences: Sequence[SequenceResult], pulses: Pulses, *, loaded: bool) -> list[float]:
    """Milliseconds of the frames with or without load; the first one of a sequence, which is prompted, is left out."""
    return [
        time_ms
        for sequence in sequences
        for frame, time_ms in enumerate(sequence.latency_ms[TOTAL])
        if frame > 0 and pulses.loaded_at(frame) == loaded
    ]


def _fps(times_ms: Sequence[float]) -> float:
    return SECOND_MS * len(times_ms) / sum(times_ms)
