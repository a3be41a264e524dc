"""What is measured in a process of its own: the peak memory of a subject, and a long run."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Concatenate, ParamSpec, TypeVar

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.evaluation.bench.clip import bench_clip
from sam2lite_mobile.evaluation.bench.memory import PEAK_SOURCE, peak_bytes, resident_bytes
from sam2lite_mobile.evaluation.bench.opening import SubjectSpec, open_subject
from sam2lite_mobile.evaluation.bench.results import LongRun, LongRunSegment, Memory
from sam2lite_mobile.evaluation.bench.subjects import TOTAL, FrameTimes

MEMORY_FRAMES = 4
"""Frames after the bank is full; nothing grows after the first of them."""
SEGMENT_SHARE = 20
"""A long run reports the first, the middle and the last twentieth of its frames."""
LONG_FRAMES_MIN = 3 * SEGMENT_SHARE
MEMORY_SCOPE = (
    f"resident set of a process that runs this subject alone ({PEAK_SOURCE}): interpreter, the clip's decoded frames, "
    "the runtime's libraries, weights and activations, loading included; `before` is what it held with the clip alone: "
    "no runtime yet and no model; a process has torch only where torch, or a runtime that imports it, runs the subject"
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_new_process(
    measure: Callable[Concatenate[SubjectSpec, Arguments], Result],
    spec: SubjectSpec,
    *arguments: Arguments.args,
    **options: Arguments.kwargs,
) -> Result:
    """The result of a measurement in a fresh interpreter. Raises what it raised, DataError if it was killed."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(measure, spec, *arguments, **options).result()
        except BrokenProcessPool as error:
            raise DataError(
                explain(f"measuring {spec}", expected="a result", got="a killed process", do="free some memory")
            ) from error


def measure_memory(spec: SubjectSpec, *, threads: int) -> Memory:
    """Peak memory of this process after a few frames with a full bank. Meant for a process of its own."""
    clip = bench_clip()
    before = resident_bytes()
    subject = open_subject(spec, clip, threads=threads)
    subject.prepare()
    for _ in range(MEMORY_FRAMES):
        subject.step()
    return Memory(before_bytes=before, peak_bytes=peak_bytes())


def measure_long_run(spec: SubjectSpec, *, frames: int, threads: int) -> LongRun:
    """Memory and time of the first, the middle and the last twentieth of a long run. Meant for a process of its own.

    Raises ContractError for fewer than 60 frames.
    """
    if frames < LONG_FRAMES_MIN:
        raise ContractError(
            explain("long run", expected=f"{LONG_FRAMES_MIN} frames or more", got=frames, do="name a larger number")
        )
    subject = open_subject(spec, bench_clip(), threads=threads)
    subject.prepare()
    count = frames // SEGMENT_SHARE
    starts = (0, (frames - count) // 2, frames - count)
    segments: list[LongRunSegment] = []
    kept: list[FrameTimes] = []
    for index in range(frames):
        times = subject.step()
        if index in starts:
            kept.clear()
        if len(kept) < count:
            kept.append(times)
            if len(kept) == count:
                segments.append(_segment(index - count + 1, kept))
    return LongRun(subject=subject.facts.name, frames=frames, segments=segments, peak_bytes=peak_bytes())


def _segment(first_frame: int, frames: list[FrameTimes]) -> LongRunSegment:
    totals = [frame.parts[TOTAL] for frame in frames]
    return LongRunSegment(
        first_frame=first_frame,
        frames=len(frames),
        wall_ms=statistics.median(times.wall_ms for times in totals),
        cpu_ms=statistics.median(times.cpu_ms for times in totals),
        resident_bytes=resident_bytes(),
    )
