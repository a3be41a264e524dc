"""summary.json of a tracking run: what was tracked, with what, how long the stages took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from sam2lite_mobile import __version__
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine
from sam2lite_mobile.evaluation.latency import TIMER_SCOPE, Percentiles, percentiles
from sam2lite_mobile.media.atomic_file import replace_file
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


class TrackSummary(Struct, frozen=True, forbid_unknown_fields=True):
    """A finished or interrupted run. Frames are indices in the source; times leave out frames without objects."""

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


def write_summary(folder: Path, summary: TrackSummary) -> None:
    """Write summary.json into a folder. Raises DataError if it cannot be written."""
    replace_file(folder / SUMMARY, msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")


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
