"""The limits and goals of the benchmark, in one table: what a frame may cost, alone and beside another subject's."""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.evaluation.bench.subjects import EAGER, HOST, PEER, TOTAL, Variant

GOAL_ROUNDS = 30
"""Rounds that a goal is stated for; a run with fewer is judged all the same, with a note."""
GOAL_THREADS = 1


@dataclass(frozen=True)
class RatioLimit:
    """Largest median ratio of a subject's time to another's in the same rounds, on the wall clock.

    part: the whole frame or a graph. dot_limit: in place of `limit` on a processor that has dot-product instructions
    for 8-bit integers; None where they make no difference.
    """

    subject: str
    reference: str
    limit: float
    part: str = TOTAL
    dot_limit: float | None = None


@dataclass(frozen=True)
class MemoryLimit:
    """Largest ratio of the peak memory of a subject's process to another's."""

    subject: str
    reference: str
    limit: float


@dataclass(frozen=True)
class PartLimit:
    """Largest median time of a part of a subject, in milliseconds on the wall clock."""

    subject: str
    part: str
    limit_ms: float


GOAL_STUDENT, GOAL_SIZE = "tiny", 512
"""What the runtimes' goals are stated for."""


def _named(runtime: str, recipe: str = "fp32") -> str:
    return Variant(GOAL_STUDENT, runtime, recipe).name(GOAL_SIZE)


RATIO_LIMITS = (
    RatioLimit("tiny@512", PEER, 0.14),
    RatioLimit("nano@512", PEER, 0.07),
    RatioLimit(_named("tflite"), _named(EAGER), 0.75),
    RatioLimit(_named("executorch"), _named("tflite"), 1.05, part="image_encoder"),
    RatioLimit(_named("executorch"), _named("tflite"), 1.05, part="mask_decoder"),
    RatioLimit(_named("onnx"), _named("tflite"), 1.05),
    *(
        RatioLimit(_named(runtime, "w8a8"), _named(runtime), 0.95, dot_limit=0.70)
        for runtime in ("tflite", "onnx", "executorch")
    ),
    *(RatioLimit(_named(runtime, "w8a8"), _named(runtime), 1.0) for runtime in ("tflite", "onnx", "executorch")),
)
"""The last three say that 8-bit integers are never slower than float32, whatever the processor has."""
MEMORY_LIMITS = (MemoryLimit(_named("tflite", "w8a8"), _named(EAGER), 0.5),)
PART_LIMITS = (PartLimit("tiny@512", HOST, 5.0), PartLimit("nano@512", HOST, 5.0))
