"""What the page needs of a track folder: summary.json and frames.jsonl, of this or of another version of the program.

These schemas name only what is shown and pass over other fields, so that a folder with more in its lines is read too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.report.axes import LARGEST
from sam2lite_mobile.media.cell_bits import CellBits
from sam2lite_mobile.media.json_file import NOT_JSON
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, check_file
from sam2lite_mobile.media.recording import FRAMES, SUMMARY

SUMMARY_BYTES = 2**20
FRAMES_BYTES = 512 * 2**20
Count = Annotated[int, Meta(ge=0)]
Measured = Annotated[float, Meta(ge=-1e9, le=1e9)]


class TrackedObject(Struct, frozen=True):
    """One object in one frame; fields as in `media.recording.ObjectRecord`."""

    object_id: Annotated[int, Meta(ge=1, le=255)]
    quality: Measured
    visible: bool
    prompted: bool
    area_share: Measured
    tokens_by_age: dict[Count, Count]
    memory_cells: dict[Count, CellBits] | None = None


class TrackedFrame(Struct, frozen=True):
    """A line of frames.jsonl. scheduler: what the adaptive scheduler saw and decided, where one ran."""

    frame: Count
    name: str
    time_s: Measured
    size: Count
    window: Count
    latency_ms: dict[str, Measured]
    objects: list[TrackedObject]
    scheduler: dict[str, Any] | None = None


class TrackEngine(Struct, frozen=True):
    """What ran."""

    name: str
    precision: str
    threads: Count
    version: str
    detail: str


class TrackMachine(Struct, frozen=True):
    """Where it ran."""

    processor: str
    cores: Count


class TrackInfo(Struct, frozen=True):
    """summary.json."""

    source: str
    width: Count
    height: Count
    frames: Count
    size: Count
    window: Count
    interrupted: bool
    engine: TrackEngine
    machine: TrackMachine
    timer: str


def scheduler_number(frame: TrackedFrame, name: str) -> float:
    """A number of the scheduler's at a frame, NaN where it has none."""
    value = (frame.scheduler or {}).get(name)
    return float(value) if isinstance(value, (int, float)) and abs(value) <= LARGEST else math.nan


def scheduler_text(frame: TrackedFrame, name: str) -> str:
    """A word or number of the scheduler's at a frame, "" where it has none."""
    value = (frame.scheduler or {}).get(name)
    return str(value)[:100] if isinstance(value, (str, int, float)) else ""


def is_track_folder(path: Path) -> bool:
    """Whether a path looks like what `sam2lite track` leaves behind."""
    return (path / FRAMES).is_file() and (path / SUMMARY).is_file()


def read_track(folder: Path) -> tuple[TrackInfo, list[TrackedFrame]]:
    """Summary and frames of a track folder, in order.

    Raises DataError if a file is missing, too large, has no frame or breaks the schema; the message names the line.
    """
    summary, lines = folder / SUMMARY, folder / FRAMES
    check_file(summary, max_bytes=SUMMARY_BYTES)
    check_file(lines, max_bytes=FRAMES_BYTES)
    where = str(summary)
    try:
        info = msgspec.json.decode(summary.read_bytes(), type=TrackInfo)
        frames = []
        decoder = msgspec.json.Decoder(TrackedFrame)
        with lines.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{lines} line {number}"
                if number > DEFAULT_LIMITS.frames:
                    raise DataError(
                        explain(
                            where, expected=f"{DEFAULT_LIMITS.frames} lines", got="more", do="track a shorter piece"
                        )
                    )
                frames.append(decoder.decode(line))
    except NOT_JSON as error:
        raise DataError(
            explain(where, expected="what sam2lite track writes", got=str(error), do="track again")
        ) from error
    if not frames:
        raise DataError(explain(str(lines), expected="a frame", got="none", do="track again"))
    return info, frames
