"""The result file of a benchmark: its schema, reading and writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.bench.rounds import part_times
from sam2lite_mobile.evaluation.bench.subjects import FrameTimes, SubjectFacts
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine, engine_info
from sam2lite_mobile.evaluation.latency import Percentiles, percentiles
from sam2lite_mobile.media.json_file import NOT_JSON, write_json
from sam2lite_mobile.media.limits import check_file

SCHEMA_VERSION = 2
RESULT_BYTES = 16 * 2**20
"""A larger result file is refused unread."""
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(ge=0)]


class PartTimes(Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a frame, over all timed rounds. cpu_ms: processor time of all threads of the process."""

    wall_ms: Percentiles
    cpu_ms: Percentiles


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """Resident set of a process that runs one subject: with everything loaded but the model, and at its peak."""

    before_bytes: Count
    peak_bytes: Count


class GraphWork(Struct, frozen=True, forbid_unknown_fields=True):
    """A graph's floating-point operations (a multiply-add is two) and what share of the machine's peak they reach."""

    flops: Count
    gflops: Positive
    peak_share: Positive


class SubjectResult(Struct, frozen=True, forbid_unknown_fields=True):
    """One subject: what it is, what the timer held, the parts of a frame (`total` among them) and its memory.

    student, recipe: null for the peer; runtime: `torch` (our engine), `eager` (the student as it is written), that of a
    package, or null for the peer. host_ms: stages inside `host`, wall time. not_remembered: timed frames that wrote no
    memory, and so did less work. disk_bytes: of a package's models. work: by graph, for a student in float32.
    """

    name: str
    student: str | None
    runtime: str | None
    recipe: str | None
    size: Count
    parameters: Count | None
    bank_tokens: Count
    engine: EngineInfo
    scope: str
    parts: dict[str, PartTimes]
    host_ms: dict[str, Percentiles]
    not_remembered: Count
    memory: Memory | None
    disk_bytes: Count | None
    work: dict[str, GraphWork]


class Ratio(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a subject's frame over another's in the same round: medians, and the quartiles on the wall clock."""

    subject: str
    peer: str
    part: str
    wall: Positive
    wall_low: Positive
    wall_high: Positive
    cpu: Positive


class BytesRatio(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of a subject over another's. what: `peak memory` of a process each, or `size on disk` of the models."""

    subject: str
    reference: str
    what: str
    ratio: Positive


class Peak(Struct, frozen=True, forbid_unknown_fields=True):
    """The machine's floating-point peak: a float32 matrix product by the fastest library, on the processor clock."""

    library: str
    gflops: Positive
    scope: str


class SweepPoint(Struct, frozen=True, forbid_unknown_fields=True):
    """A line's whole frame at one value of an axis: medians on both clocks, and the parts' on the wall clock."""

    line: str
    value: Count
    wall_ms: Percentiles
    cpu_ms: Percentiles
    parts_ms: dict[str, Positive]


class Sweep(Struct, frozen=True, forbid_unknown_fields=True):
    """What a frame costs along one axis: `size` (pixels), `tokens` (of the bank) or `objects`; `fixed` is the rest."""

    axis: str
    fixed: str
    points: list[SweepPoint]


class Verdict(Struct, frozen=True, forbid_unknown_fields=True):
    """A limit and what was measured, times on the wall clock."""

    what: str
    measured: Positive
    limit: Positive
    held: bool


class LongRunSegment(Struct, frozen=True, forbid_unknown_fields=True):
    """Some frames of a long run: median time of a whole frame, and the resident set after the last of them."""

    first_frame: Count
    frames: Count
    wall_ms: Positive
    cpu_ms: Positive
    resident_bytes: Count


class LongRun(Struct, frozen=True, forbid_unknown_fields=True):
    """The first, the middle and the last twentieth of a long run over the clip, forth and back."""

    subject: str
    frames: Count
    segments: list[LongRunSegment]
    peak_bytes: Count


class RunConditions(Struct, frozen=True, forbid_unknown_fields=True):
    """What the figures hold for. loads: one-minute load average at start and end, where the system has one.

    dot_product: instructions of the processor for 8-bit dot products, null where the system does not tell.
    """

    package_version: str
    machine: Machine
    threads: Count
    clip: str
    rounds: Count
    warm_up_rounds: Count
    memory_scope: str
    load_start: Positive | None
    load_end: Positive | None
    dot_product: list[str] | None


class BenchResult(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole benchmark. notes: what a reader has to know before using a figure."""

    schema_version: int
    conditions: RunConditions
    subjects: list[SubjectResult]
    ratios: list[Ratio]
    bytes_ratios: list[BytesRatio]
    verdicts: list[Verdict]
    peak: Peak
    sweeps: list[Sweep]
    long_run: LongRun | None
    notes: list[str]


def subject_result(
    facts: SubjectFacts,
    frames: Sequence[FrameTimes],
    memory: Memory | None,
    *,
    work: dict[str, GraphWork] | None = None,
) -> SubjectResult:
    """The distribution of each part of a subject's frames. frames must not be empty."""
    parts = {
        name: PartTimes(percentiles([t.wall_ms for t in times]), percentiles([t.cpu_ms for t in times]))
        for name, times in part_times(frames).items()
    }
    stages = {stage: percentiles([frame.host_ms[stage] for frame in frames]) for stage in frames[0].host_ms}
    variant = facts.variant
    return SubjectResult(
        name=facts.name,
        student=None if variant is None else variant.student,
        runtime=None if variant is None else variant.runtime,
        recipe=None if variant is None else variant.recipe,
        size=facts.size,
        parameters=facts.parameters,
        bank_tokens=facts.bank_tokens,
        engine=engine_info(facts.engine, facts.checkpoint_sha256),
        scope=facts.scope,
        parts=parts,
        host_ms=stages,
        not_remembered=sum(not frame.remembered for frame in frames),
        memory=memory,
        disk_bytes=facts.disk_bytes,
        work=work or {},
    )


def write_bench(path: Path, result: BenchResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    write_json(path, result)


def read_bench(path: Path) -> BenchResult:
    """A result file. Raises DataError if it is missing, too large, of another schema version or breaks the schema."""
    check_file(path, max_bytes=RESULT_BYTES)
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=_Versioned).schema_version
        if found == SCHEMA_VERSION:
            return msgspec.json.decode(data, type=BenchResult)
    except NOT_JSON as error:
        raise DataError(
            explain(str(path), expected="a result of sam2lite bench", got=str(error), do="run the benchmark again")
        ) from error
    raise DataError(
        explain(str(path), expected=f"schema version {SCHEMA_VERSION}", got=found, do="run the benchmark again")
    )


class _Versioned(Struct):
    schema_version: int
