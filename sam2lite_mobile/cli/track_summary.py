"""summary.json of a tracking run: what was tracked, with what, how long the stages took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from msgspec import Struct

from sam2lite_mobile import __version__
from sam2lite_mobile.evaluation.adaptive.step_response import ON_TARGET
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine
from sam2lite_mobile.evaluation.latency import TIMER_SCOPE, Percentiles, percentiles
from sam2lite_mobile.media.json_file import write_json
from sam2lite_mobile.media.recording import SUMMARY, FrameRecord, ObjectRecord

SCHEMA_VERSION = 1


class ObjectSummary(Struct, frozen=True, forbid_unknown_fields=True):
    """One object over the run; the means are over the frames in which it was visible, 0 if there is none."""

    object_id: int
    prompted_frames: list[int]
    frames: int
    visible_frames: int
    mean_quality: float
    mean_area_share: float


class AdaptiveSummary(Struct, frozen=True, forbid_unknown_fields=True):
    """What the scheduler did. Frames with an object and without a prompt count; shares are of these.

    on_target: share of them within 10 % of the target time. fps: frames over the sum of their times. sizes, reasons:
    frames by size and by reason. changes: of the size. mean_window: frames.
    """

    target_fps: float
    fps: float
    frames: int
    on_target: float
    sizes: dict[int, int]
    changes: int
    mean_window: float
    reasons: dict[str, int]


class TrackSummary(Struct, frozen=True, forbid_unknown_fields=True):
    """A finished or interrupted run. Frames are indices in the source; times leave out frames without objects.

    adaptive: of a run with a target rate, else null; `size` is then the largest. min_quality, fine: remedies that
    the run was made with.
    """

    source: str
    width: int
    height: int
    first_frame: int
    last_frame: int
    frames: int
    size: int
    window: int
    interrupted: bool
    prompts_not_reached: list[int]
    objects: list[ObjectSummary]
    engine: EngineInfo
    machine: Machine
    latency_ms: dict[str, Percentiles]
    adaptive: AdaptiveSummary | None = None
    min_quality: float = 0.0
    fine: bool = False
    timer: str = TIMER_SCOPE
    package_version: str = __version__
    schema_version: int = SCHEMA_VERSION


def summarize_objects(records: Sequence[FrameRecord]) -> list[ObjectSummary]:
    """Each object of a run, by id. records: lines of frames.jsonl."""
    by_id: dict[int, list[tuple[int, ObjectRecord]]] = {}
    for record in records:
        for each in record.objects:
            by_id.setdefault(each.object_id, []).append((record.frame, each))
    return [_summarize_object(object_id, seen) for object_id, seen in sorted(by_id.items())]


def summarize_latency(records: Sequence[FrameRecord]) -> dict[str, Percentiles]:
    """Distribution of each stage over the frames that had an object to track."""
    stages: dict[str, list[float]] = {}
    for record in records:
        if record.objects:
            for stage, value in record.latency_ms.items():
                stages.setdefault(stage, []).append(value)
    return {stage: percentiles(values) for stage, values in stages.items()}


def summarize_adaptive(records: Sequence[FrameRecord], *, target_fps: float) -> AdaptiveSummary:
    """What the scheduler did in a run. Without a frame that counts, figures are 0."""
    counted = [each for each in records if each.objects and not any(one.prompted for one in each.objects)]
    times_ms = [each.latency_ms["total"] for each in counted]
    limit_ms = ON_TARGET * 1000.0 / target_fps
    return AdaptiveSummary(
        target_fps=target_fps,
        fps=1000.0 * len(times_ms) / sum(times_ms) if sum(times_ms) > 0 else 0.0,
        frames=len(counted),
        on_target=float(np.mean([time_ms <= limit_ms for time_ms in times_ms])) if times_ms else 0.0,
        sizes=dict(sorted(Counter(each.size for each in counted).items())),
        changes=sum(one.size != other.size for one, other in pairwise(counted)),
        mean_window=float(np.mean([each.window for each in counted])) if counted else 0.0,
        reasons=dict(sorted(Counter(each.scheduler.reason for each in counted if each.scheduler).items())),
    )


def adaptive_line(adaptive: AdaptiveSummary) -> str:
    """What the scheduler did, in a line."""
    sizes = ", ".join(f"{frames} at {size} px" for size, frames in adaptive.sizes.items())
    return (
        f"target {adaptive.target_fps:g} frames a second, got {adaptive.fps:.1f}; {adaptive.on_target:.0%} of "
        f"{adaptive.frames} frames on target; {sizes}; size changed {adaptive.changes} times"
    )


def write_summary(folder: Path, summary: TrackSummary) -> None:
    """Write summary.json into a folder. Raises DataError if it cannot be written."""
    write_json(folder / SUMMARY, summary)


def _summarize_object(object_id: int, seen: Sequence[tuple[int, ObjectRecord]]) -> ObjectSummary:
    visible = [each for _, each in seen if each.visible]
    return ObjectSummary(
        object_id=object_id,
        prompted_frames=[frame for frame, each in seen if each.prompted],
        frames=len(seen),
        visible_frames=len(visible),
        mean_quality=float(np.mean([each.quality for each in visible])) if visible else 0.0,
        mean_area_share=float(np.mean([each.area_share for each in visible])) if visible else 0.0,
    )
