"""The loop of `sam2lite track`: frames and prompts into the tracker, results into the recorder."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from sam2lite_mobile.cli.engine_options import OpenEngine
from sam2lite_mobile.cli.interrupt import stop_on_interrupt
from sam2lite_mobile.cli.progress import frame_progress
from sam2lite_mobile.cli.prompt_options import PromptSchedule
from sam2lite_mobile.cli.track_summary import (
    TrackSummary,
    summarize_adaptive,
    summarize_latency,
    summarize_objects,
    write_summary,
)
from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.conditions import engine_info, this_machine
from sam2lite_mobile.evaluation.remedies import NO_REMEDY, Remedies
from sam2lite_mobile.media.frames import FrameSource
from sam2lite_mobile.media.recording import FrameRecord, TrackRecorder
from sam2lite_mobile.runtime.adaptive_tracker import AdaptiveTracker
from sam2lite_mobile.runtime.scheduler import Scheduler
from sam2lite_mobile.runtime.tracker import Tracker

SECOND_MS = 1000.0


def run_tracking(
    source: FrameSource,
    schedule: PromptSchedule,
    opened: OpenEngine,
    *,
    folder: Path,
    size: int,
    window: int,
    target_fps: float | None = None,
    remedies: Remedies = NO_REMEDY,
    frames_expected: int | None,
    memory_cells: bool = False,
) -> TrackSummary:
    """Track every frame of the source and write all files of the run into `folder`; the summary that was written.

    target_fps: sizes up to `size`, and windows, are the scheduler's. remedies: against known failures. The first
    Ctrl-C ends the loop after the current frame and leaves complete files. frames_expected: for the progress bar, None
    where nobody knows. memory_cells: also record what the memory holds after each frame. Raises DataError if the
    source has no frame or breaks, ContractError for a prompt that does not fit the frames.
    """
    plain = Tracker(opened.engine, size=size, window=window, min_quality=remedies.min_quality)
    tracker = remedies.around(plain)
    adaptive = None
    if target_fps is not None:
        sizes = tuple(each for each in opened.engine.sizes if each <= size)
        adaptive = AdaptiveTracker(tracker, Scheduler(SECOND_MS / target_fps, sizes=sizes))
    records: list[FrameRecord] = []
    height = width = 0
    with stop_on_interrupt() as stop, TrackRecorder(folder) as recorder, frame_progress() as progress:
        task = progress.add_task(source.description, total=frames_expected)
        for frame in source:
            height, width = frame.image.shape[:2]
            prompts = schedule.get(frame.index)
            if adaptive is None:
                result = tracker.step(frame.image, prompts=prompts)
            else:
                result = adaptive.step(frame.image, time_ms=perf_counter() * SECOND_MS, prompts=prompts)
            held = {each: tracker.memory_cells(each) for each in result.objects} if memory_cells else None
            decision = None if adaptive is None else adaptive.decision
            records.append(recorder.write(frame, result, decision=decision, memory_cells=held))
            progress.advance(task)
            if stop.requested:
                break
    if not records:
        raise DataError(explain(source.description, expected="a frame", got="none", do="check the source"))
    summary = TrackSummary(
        source=source.description,
        width=width,
        height=height,
        first_frame=records[0].frame,
        last_frame=records[-1].frame,
        frames=len(records),
        size=size,
        window=window,
        interrupted=stop.requested,
        prompts_not_reached=[frame for frame in sorted(schedule) if frame > records[-1].frame],
        objects=summarize_objects(records),
        engine=engine_info(opened.engine.describe(), opened.checkpoint_sha256),
        machine=this_machine(),
        latency_ms=summarize_latency(records),
        min_quality=remedies.min_quality,
        fine=remedies.fine,
        adaptive=None if target_fps is None else summarize_adaptive(records, target_fps=target_fps),
    )
    write_summary(folder, summary)
    return summary
