"""The result file of a benchmark: its schema, how it is put together, reading and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.bench.limits import PART_LIMITS, RATIO_LIMITS
from sam2lite_mobile.evaluation.bench.rounds import paired_ratio, part_times
from sam2lite_mobile.evaluation.bench.subjects import FrameTimes, SubjectFacts
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine, engine_info
from sam2lite_mobile.evaluation.latency import Percentiles, percentiles
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.limits import check_file

SCHEMA_VERSION = 1
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


class SubjectResult(Struct, frozen=True, forbid_unknown_fields=True):
    """One subject: what it is, what the timer held, the parts of a frame (`total` among them) and its memory.

    host_ms: stages inside `host`, wall time. not_remembered: timed frames that wrote no memory, and so did less work.
    """

    name: str
    size: Count
    parameters: Count | None
    bank_tokens: Count
    engine: EngineInfo
    scope: str
    parts: dict[str, PartTimes]
    host_ms: dict[str, Percentiles]
    not_remembered: Count
    memory: Memory | None


class Ratio(Struct, frozen=True, forbid_unknown_fields=True):
    """Whole frame of a subject over the peer's in the same round: medians, and the quartiles on the wall clock."""

    subject: str
    peer: str
    wall: Positive
    wall_low: Positive
    wall_high: Positive
    cpu: Positive


class Verdict(Struct, frozen=True, forbid_unknown_fields=True):
    """A limit and what was measured, both on the wall clock."""

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
    """What the figures hold for. loads: one-minute load average at start and end, where the system has one."""

    package_version: str
    machine: Machine
    threads: Count
    clip: str
    rounds: Count
    warm_up_rounds: Count
    memory_scope: str
    load_start: Positive | None
    load_end: Positive | None


class BenchResult(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole benchmark. notes: what a reader has to know before using a figure."""

    schema_version: int
    conditions: RunConditions
    subjects: list[SubjectResult]
    ratios: list[Ratio]
    verdicts: list[Verdict]
    long_run: LongRun | None
    notes: list[str]


def subject_result(facts: SubjectFacts, frames: Sequence[FrameTimes], memory: Memory | None) -> SubjectResult:
    """The distribution of each part of a subject's frames. frames must not be empty."""
    parts = {
        name: PartTimes(percentiles([t.wall_ms for t in times]), percentiles([t.cpu_ms for t in times]))
        for name, times in part_times(frames).items()
    }
    stages = {stage: percentiles([frame.host_ms[stage] for frame in frames]) for stage in frames[0].host_ms}
    return SubjectResult(
        name=facts.name,
        size=facts.size,
        parameters=facts.parameters,
        bank_tokens=facts.bank_tokens,
        engine=engine_info(facts.engine, None),
        scope=facts.scope,
        parts=parts,
        host_ms=stages,
        not_remembered=sum(not frame.remembered for frame in frames),
        memory=memory,
    )


def ratios_to(peer: str, frames: Mapping[str, Sequence[FrameTimes]]) -> list[Ratio]:
    """Ratio of every other subject to the peer, by name of the subject."""
    found = []
    for name, mine in frames.items():
        if name != peer:
            ratio = paired_ratio(mine, frames[peer])
            found.append(Ratio(name, peer, ratio.wall, ratio.wall_low, ratio.wall_high, ratio.cpu))
    return found


def verdicts(subjects: Sequence[SubjectResult], ratios: Sequence[Ratio]) -> list[Verdict]:
    """Each limit of the table whose subject was measured, beside what was measured."""
    by_subject = {ratio.subject: ratio for ratio in ratios}
    by_name = {subject.name: subject for subject in subjects}
    found = []
    for bound in RATIO_LIMITS:
        if (ratio := by_subject.get(bound.subject)) is not None:
            what = f"{bound.subject} / {ratio.peer}, whole frame"
            found.append(Verdict(what, ratio.wall, bound.limit, ratio.wall <= bound.limit))
    for part in PART_LIMITS:
        if (subject := by_name.get(part.subject)) is not None and part.part in subject.parts:
            measured = subject.parts[part.part].wall_ms.p50
            what = f"{part.subject} {part.part}, ms a frame"
            found.append(Verdict(what, measured, part.limit_ms, measured <= part.limit_ms))
    return found


def write_bench(path: Path, result: BenchResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read_bench(path: Path) -> BenchResult:
    """A result file. Raises DataError if it is missing, too large, of another schema version or breaks the schema."""
    check_file(path, max_bytes=RESULT_BYTES)
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=_Versioned).schema_version
        if found == SCHEMA_VERSION:
            return msgspec.json.decode(data, type=BenchResult)
    except msgspec.DecodeError as error:
        raise DataError(
            explain(str(path), expected="a result of sam2lite bench", got=str(error), do="run the benchmark again")
        ) from error
    raise DataError(
        explain(str(path), expected=f"schema version {SCHEMA_VERSION}", got=found, do="run the benchmark again")
    )


class _Versioned(Struct):
    schema_version: int
