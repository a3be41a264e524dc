"""What a tracking run leaves behind: one mask file and one JSON line a frame, and a video with the masks drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType
from numpy.typing import NDArray

from sam2lite_mobile.media.cell_bits import CellBits, memory_cell_bits
from sam2lite_mobile.media.frames import Frame
from sam2lite_mobile.media.label_maps import exclusive_label_map, write_label_map
from sam2lite_mobile.media.overlay import draw_overlay
from sam2lite_mobile.media.video_writer import VideoWriter
from sam2lite_mobile.runtime.frame_result import FrameResult
from sam2lite_mobile.runtime.scheduler import Decision

MASKS, OVERLAY, FRAMES, SUMMARY = "masks", "overlay.mp4", "frames.jsonl", "summary.json"
RUN_FILES = frozenset((MASKS, OVERLAY, FRAMES, SUMMARY))
"""What the folder of a run holds, and nothing else."""


class ObjectRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One object in one frame.

    quality: predicted IoU, 0..1. visibility: logit, in view where > 0. area_share: its pixels as a share of the frame.
    tokens_by_age: memory tokens kept, by age in frames. memory_cells: the cells that they come from, by the index of
    their frame in the source (`cell_bits.py`); not in the line unless it was recorded.
    """

    object_id: int
    quality: float
    visibility: float
    visible: bool
    prompted: bool
    area_share: float
    tokens_by_age: dict[int, int]
    memory_cells: dict[int, CellBits] | UnsetType = UNSET


class SchedulerRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a frame has its size: the scheduler's decision after the frame before it; see `runtime/scheduler.py`.

    reason: words of `Reason`. scale: 0.5..1. thermal: 0..3. The others are of the loop's step, null where it made none.
    """

    reason: str
    scale: float
    thermal: int
    actual_ms: float | None
    error: float | None
    integral: float | None
    derivative: float | None
    output: float | None


class FrameRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of frames.jsonl: a frame's place in the source, the settings it was tracked with, times and objects.

    scheduler: of a run with a target rate, else null.
    """

    frame: int
    name: str
    time_s: float
    size: int
    window: int
    latency_ms: dict[str, float]
    objects: list[ObjectRecord]
    scheduler: SchedulerRecord | None = None


HeldCells = Mapping[int, Mapping[int, NDArray[np.int64]]]
"""Of each object, which cells of which frame its memory holds, as `Tracker.memory_cells` tells it."""


class TrackRecorder:
    """Writes masks/FRAME.png, overlay.mp4 and frames.jsonl into a folder. Closing it completes the files."""

    def __init__(self, folder: Path) -> None:
        self._masks = folder / MASKS
        self._masks.mkdir()
        self._lines = (folder / FRAMES).open("xb")
        self._video = VideoWriter(folder / OVERLAY)

    def write(
        self,
        frame: Frame,
        result: FrameResult,
        *,
        decision: Decision | None = None,
        memory_cells: HeldCells | None = None,
    ) -> FrameRecord:
        """Write one frame's mask, picture and line; gives back what the line holds.

        In the mask file objects compete for pixels, so each pixel has one id; `area_share` counts the object's own
        mask. decision: what the scheduler chose the frame's size by. memory_cells: what each object's memory holds, if
        that is to be recorded. Raises DataError if the disk is full.
        """
        height, width = frame.image.shape[:2]
        labels = exclusive_label_map(result.objects.values(), height, width)
        write_label_map(self._masks / f"{frame.name}.png", labels)
        self._video.write(draw_overlay(frame.image, labels), frame.time_s)
        record = frame_record(frame, result, decision=decision, memory_cells=memory_cells)
        self._lines.write(msgspec.json.encode(record) + b"\n")
        self._lines.flush()
        return record

    def close(self) -> None:
        """Complete the files; closing twice is harmless."""
        self._lines.close()
        self._video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def frame_record(
    frame: Frame,
    result: FrameResult,
    *,
    decision: Decision | None = None,
    memory_cells: HeldCells | None = None,
) -> FrameRecord:
    """The line of frames.jsonl for a tracked frame; times are rounded to microseconds."""
    first = frame.index - result.frame_index  # the tracker counts from the first frame that was read
    objects = [
        ObjectRecord(
            object_id=object_id,
            quality=float(each.quality),
            visibility=float(each.visibility),
            visible=bool(each.visible),
            prompted=bool(each.prompted),
            area_share=float(np.mean(each.mask)),
            tokens_by_age={int(age): int(count) for age, count in sorted(each.tokens_by_age.items())},
            memory_cells=UNSET if memory_cells is None else _bits_by_source_frame(memory_cells[object_id], first),
        )
        for object_id, each in sorted(result.objects.items())
    ]
    return FrameRecord(
        frame=frame.index,
        name=frame.name,
        time_s=round(frame.time_s, 6),
        size=result.size,
        window=result.window,
        latency_ms={stage: round(value, 3) for stage, value in result.latency_ms.items()},
        objects=objects,
        scheduler=None if decision is None else scheduler_record(decision),
    )


def scheduler_record(decision: Decision) -> SchedulerRecord:
    """A decision as it is written down; size and window are the frame's own fields."""
    return SchedulerRecord(
        reason=str(decision.reason),
        scale=decision.scale,
        thermal=decision.thermal,
        actual_ms=decision.actual_ms,
        error=decision.error,
        integral=decision.integral,
        derivative=decision.derivative,
        output=decision.output,
    )


def _bits_by_source_frame(cells: Mapping[int, NDArray[np.int64]], first: int) -> dict[int, str]:
    return {first + index: bits for index, bits in memory_cell_bits(cells).items()}
