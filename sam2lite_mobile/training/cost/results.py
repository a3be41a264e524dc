"""The result file of `sam2lite bench-train`: its schema, the figures that follow from step times, reading, writing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.conditions import Machine
from sam2lite_mobile.media.json_file import NOT_JSON, write_json
from sam2lite_mobile.media.limits import check_file
from sam2lite_mobile.training.cost.step_times import PartTimes, StepTimes
from sam2lite_mobile.training.recipe import Phase

SCHEMA_VERSION = 1
RESULT_BYTES = 4 * 2**20
"""A larger result file is refused unread."""
WAIT_GOAL = 0.1
"""Share of a step that may be spent waiting for its batch; above it, data limits the training."""
HOUR_SECONDS = 3600
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(ge=0)]


class PeakMemory(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes: this process, all worker processes (None where the system does not tell), a GPU (None on a CPU)."""

    process_bytes: Count
    workers_bytes: Count | None
    device_bytes: Count | None


class StepShares(Struct, frozen=True, forbid_unknown_fields=True):
    """Parts of the steps' time; with the share of waiting they add up to 1. For what each holds see `PartTimes`."""

    forward: Share
    backward: Share
    update: Share


class SizeCost(Struct, frozen=True, forbid_unknown_fields=True):
    """Steps of one input size in pixels, and the mean seconds of one of them, waiting included."""

    size: Count
    steps: Count
    mean_s: Positive


class PhaseTimes(Struct, frozen=True, forbid_unknown_fields=True):
    """Timed steps of a phase. clips, frames: all that they trained on. seconds: all that they took.

    step_s: of one step, median and 90th percentile. processor_s_median: seconds of all threads of the training process,
    without waiting; where it is far below the time of a step on one thread, the machine was busy. shares: None where
    the parts could not be told apart.
    """

    steps: Count
    clips: Count
    frames: Count
    seconds: Positive
    clips_per_s: Positive
    frames_per_s: Positive
    step_s_median: Positive
    step_s_p90: Positive
    processor_s_median: Positive
    wait_share: Share
    shares: StepShares | None
    by_size: list[SizeCost]


class DataSupply(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the batches come fast enough.

    worker_clips_per_s: made by one worker process alone, of the same steps, while nothing else of ours runs.
    compute_clips_per_s: what training would take if it never waited. settled_wait_share: waiting that follows from
    both, once the batches that were made ahead during the warm-up are used up. workers_needed: the fewest with which
    that share is within the goal, each with a processor of its own.
    """

    worker_clips_per_s: Positive
    compute_clips_per_s: Positive
    settled_wait_share: Share
    workers_needed: Count
    limited_by: Literal["data", "compute"]


class PhaseCost(Struct, frozen=True, forbid_unknown_fields=True):
    """One phase: its number from 1, its fields in the recipe, where it starts, its cost.

    hours: of the whole phase at this speed, each size of the phase as often as the recipe has it.
    largest_micro_clips: clips at the phase's largest size that a GPU holds at once, where `--fit-batch` asked for it.
    """

    number: Annotated[int, Meta(ge=1)]
    settings: dict[str, Any]
    first_step: Count
    all_steps: Count
    warm_up_steps: Count
    times: PhaseTimes
    data: DataSupply
    memory: PeakMemory
    hours: Positive
    largest_micro_clips: Count | None


class CostConditions(Struct, frozen=True, forbid_unknown_fields=True):
    """What the figures hold for. device: `cpu`, or the GPU's name. data: name of the folder, or `synthetic`.

    precision: that the steps were computed in, not the recipe's where the device has no bf16. loads: one-minute load
    average at start and end, where the system has one.
    """

    package_version: str
    torch_version: str
    machine: Machine
    device: str
    precision: str
    threads: Count
    workers: Count
    recipe: str
    recipe_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    student: str
    parameters: Count
    batch_clips: Count
    micro_clips: Count | None
    seed: Count
    data: str
    timer: str
    memory_scope: str
    load_start: Positive | None
    load_end: Positive | None


class TrainingCost(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole measurement. hours: of all phases. notes: what a reader has to know before using a figure."""

    schema_version: int
    conditions: CostConditions
    phases: list[PhaseCost]
    hours: Positive
    notes: list[str]


def phase_times(steps: Sequence[StepTimes], *, batch_clips: int, frames: int) -> PhaseTimes:
    """What the times of some steps come to. steps must not be empty; frames: of one clip."""
    each = [step.seconds for step in steps]
    seconds, clips = sum(each), len(steps) * batch_clips
    median, p90 = np.percentile(each, (50, 90))
    return PhaseTimes(
        steps=len(steps),
        clips=clips,
        frames=clips * frames,
        seconds=seconds,
        clips_per_s=clips / seconds,
        frames_per_s=clips * frames / seconds,
        step_s_median=float(median),
        step_s_p90=float(p90),
        processor_s_median=float(np.median([step.processor for step in steps])),
        wait_share=sum(step.waited for step in steps) / seconds,
        shares=_shares([step.parts for step in steps], seconds=seconds),
        by_size=_by_size(steps),
    )


def data_supply(times: PhaseTimes, *, worker_clips_per_s: float, workers: int) -> DataSupply:
    """Whether `workers` processes of that speed feed these steps; 0: the training process makes its batches itself."""
    compute = times.clips_per_s / max(1 - times.wait_share, 1e-9)
    if workers:
        settled = max(0.0, 1 - workers * worker_clips_per_s / compute)
    else:
        settled = compute / (compute + worker_clips_per_s)
    return DataSupply(
        worker_clips_per_s=worker_clips_per_s,
        compute_clips_per_s=compute,
        settled_wait_share=settled,
        workers_needed=max(1, math.ceil((1 - WAIT_GOAL) * compute / worker_clips_per_s)),
        limited_by="data" if max(times.wait_share, settled) > WAIT_GOAL else "compute",
    )


def phase_hours(times: PhaseTimes, phase: Phase, *, all_steps: int) -> float:
    """Hours of `all_steps` steps; sizes that were not measured count as much as the mean of those that were."""
    mean_s = {cost.size: cost.mean_s for cost in times.by_size}
    measured = [mean_s[size] for size in phase.sizes if size in mean_s]
    return sum(measured) / len(measured) * all_steps / HOUR_SECONDS


def write_cost(path: Path, cost: TrainingCost) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    write_json(path, cost)


def read_cost(path: Path) -> TrainingCost:
    """A result file. Raises DataError if it is missing, too large, of another schema version or breaks the schema."""
    check_file(path, max_bytes=RESULT_BYTES)
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=_Versioned).schema_version
        if found == SCHEMA_VERSION:
            return msgspec.json.decode(data, type=TrainingCost)
    except NOT_JSON as error:
        raise DataError(
            explain(str(path), expected="a result of sam2lite bench-train", got=str(error), do="measure again")
        ) from error
    raise DataError(explain(str(path), expected=f"schema version {SCHEMA_VERSION}", got=found, do="measure again"))


class _Versioned(Struct):
    schema_version: int


def _shares(parts: Sequence[PartTimes | None], *, seconds: float) -> StepShares | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return StepShares(
        forward=sum(part.forward for part in known) / seconds,
        backward=sum(part.backward for part in known) / seconds,
        update=sum(part.update for part in known) / seconds,
    )


def _by_size(steps: Sequence[StepTimes]) -> list[SizeCost]:
    seconds: dict[int, list[float]] = {}
    for step in steps:
        seconds.setdefault(step.size, []).append(step.seconds)
    return [SizeCost(size, len(each), sum(each) / len(each)) for size, each in sorted(seconds.items())]
