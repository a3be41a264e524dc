"""Whether the parts of a result fit each other: a schema says what a value may be, not that two lists are as long."""

from __future__ import annotations

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.bench.results import BenchResult
from sam2lite_mobile.evaluation.bench.subjects import HOST, TOTAL
from sam2lite_mobile.evaluation.bench.tables import AXIS_WORDS
from sam2lite_mobile.evaluation.results import EvaluationResult, ObjectScores, SequenceResult
from sam2lite_mobile.media.limits import DEFAULT_LIMITS

FRAMES_MIN = 3
"""Fewer frames of an object leave none to evaluate."""


def check_evaluation(where: str, result: EvaluationResult) -> None:
    """Raise DataError unless an evaluation is finished, its lists have one value a frame, and its sides have limits."""
    if result.summary is None:
        raise DataError(explain(where, expected="a finished evaluation", got="a part", do="finish it: eval --resume"))
    names = [sequence.name for sequence in result.sequences]
    if not names or len(set(names)) != len(names):
        raise _broken(where, "sequences, each once", ", ".join(names)[:200] or "none")
    for sequence in result.sequences:
        _check_sequence(f"{where}: {sequence.name[:100]}", sequence)
    for stage, times in result.summary.latency_ms.items():
        if min(times.p50, times.p95, times.p99, times.mean) < 0:
            raise _broken(f"{where}: {stage[:100]}", "times of 0 or more", "less")


def check_bench(where: str, result: BenchResult) -> None:
    """Raise DataError unless every subject of a benchmark has its whole frame, and every sweep a known axis."""
    for subject in result.subjects:
        for part in (TOTAL, *((HOST,) if subject.host_ms else ())):
            if part not in subject.parts:
                raise _broken(f"{where}: {subject.name[:100]}", f"the part {part!r}", "none")
    stages = {frozenset(subject.host_ms) for subject in result.subjects if subject.host_ms}
    if len(stages) > 1:
        raise _broken(where, "the same stages of every subject", "different ones")
    for sweep in result.sweeps:
        if sweep.axis not in AXIS_WORDS:
            raise _broken(f"{where}: sweep", " or ".join(AXIS_WORDS), repr(sweep.axis[:100]))


def _check_sequence(where: str, sequence: SequenceResult) -> None:
    if not sequence.objects:
        raise _broken(where, "an object", "none")
    if not 0 < sequence.frames <= DEFAULT_LIMITS.frames:
        raise _broken(where, f"1 to {DEFAULT_LIMITS.frames} frames", sequence.frames)
    if not all(0 < side <= DEFAULT_LIMITS.side_px for side in (sequence.width, sequence.height)):
        raise _broken(where, f"sides of 1 to {DEFAULT_LIMITS.side_px} px", f"{sequence.width} x {sequence.height}")
    for scores in sequence.objects:
        _check_scores(f"{where}, object {scores.object_id}", scores, frames=sequence.frames)
    if sequence.frame_names is not None and len(sequence.frame_names) != sequence.frames:
        raise _broken(f"{where}: frame names", sequence.frames, len(sequence.frame_names))


def _check_scores(where: str, scores: ObjectScores, *, frames: int) -> None:
    count = frames - scores.first_frame
    if count < FRAMES_MIN:
        raise _broken(where, f"{FRAMES_MIN} frames or more", count)
    lengths = {
        "J": (scores.j, count),
        "F": (scores.f, count),
        "flicker": (scores.flicker, count - 1),
        "annotated flicker": (scores.annotated_flicker, count - 1),
        "memory cells": (scores.memory_cells, count),
    }
    for name, (values, expected) in lengths.items():
        if values is not None and len(values) != expected:
            raise _broken(f"{where}: {name}", f"{expected} values", len(values))


def _broken(where: str, expected: object, got: object) -> DataError:
    return DataError(explain(where, expected=expected, got=got, do="measure again"))
