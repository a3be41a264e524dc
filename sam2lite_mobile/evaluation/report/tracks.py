"""A tracking run on the page: its frames, time, size and window, quality, and where the memory's tokens come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sam2lite_mobile.evaluation.bench.tables import TextTable
from sam2lite_mobile.evaluation.latency import frames_per_second, percentiles
from sam2lite_mobile.evaluation.report.axes import number
from sam2lite_mobile.evaluation.report.inputs import TrackInput
from sam2lite_mobile.evaluation.report.line_chart import SERIES_COLOURS, Line, LineChart, line_chart
from sam2lite_mobile.evaluation.report.pictures import data_uri, picture_size
from sam2lite_mobile.evaluation.report.player import Layer, Player, PlayerFrame, chosen_frames, lowest
from sam2lite_mobile.evaluation.report.track_files import (
    TrackedFrame,
    TrackedObject,
    TrackInfo,
    scheduler_number,
    scheduler_text,
)
from sam2lite_mobile.media.recording import OVERLAY
from sam2lite_mobile.media.source import open_source

TOTAL = "total"
LEVELS_MAX = 6
"""Sizes and windows that are named on their axis; where there are more, round values are."""


@dataclass(frozen=True)
class TrackView:
    """What the page shows of a tracking run."""

    name: str
    player: Player
    facts: tuple[tuple[str, str], ...]
    stages: TextTable
    conditions: str


def track_view(number_of: int, given: TrackInput, *, frames_max: int) -> TrackView:
    """The player, the charts and the times of a run. Its pictures are those of overlay.mp4, where that is there.

    Raises DataError where the video is broken or has other frames than frames.jsonl.
    """
    info, frames = given.info, given.frames
    total = [frame.latency_ms[TOTAL] for frame in frames if frame.objects and TOTAL in frame.latency_ms]
    speed: tuple[tuple[str, str], ...] = ()
    if total:
        found = percentiles(total)
        speed = (
            ("ms a frame, p50", number(found.p50)),
            ("p95", number(found.p95)),
            ("p99", number(found.p99)),
            ("frames a second", number(frames_per_second(found))),
        )
    return TrackView(
        name=given.name,
        player=_player(number_of, given, frames_max=frames_max),
        facts=(("frames", str(info.frames)), ("size", f"{info.width} x {info.height}"), *speed),
        stages=_stages(frames),
        conditions="; ".join((info.source, _engine_words(info), info.timer)),
    )


def _engine_words(info: TrackInfo) -> str:
    engine, machine = info.engine, info.machine
    return (
        f"{engine.name} {engine.version} {engine.precision} ({engine.detail}), {info.size} px, window {info.window}, "
        f"threads: {engine.threads}, {machine.processor}, {machine.cores} cores"
    )


def _player(number_of: int, given: TrackInput, *, frames_max: int) -> Player:
    frames = given.frames
    quality = [_lowest_quality(frame) for frame in frames]
    worst = lowest(quality, apart=max(2, len(frames) // 16))
    positions = chosen_frames(len(frames), limit=frames_max, always=worst)
    images = dict(_images(given.folder / OVERLAY, set(positions)))
    objects = sorted({each.object_id for frame in frames for each in frame.objects})
    with_memory = [i for i in objects if any(_memory(frame, i) for frame in frames)]
    width, height = picture_size(given.info.width, given.info.height) if images and given.info.width else (0, 0)
    return Player(
        id=f"track-{number_of}",
        title=given.name,
        width=width,
        height=height,
        frames=tuple(
            PlayerFrame(
                index=frames[position].frame,
                name=frames[position].name,
                image=images.get(position, ""),
                values=(_setting(frames[position]), *(_object_words(frames[position], i) for i in objects)),
                memory=tuple(_memory(frames[position], i) for i in with_memory),
            )
            for position in positions
        ),
        layers=(),
        series=(
            Layer("frame", "floor"),
            *(Layer(f"object {i}", f"s{n % SERIES_COLOURS}") for n, i in enumerate(objects)),
        ),
        charts=tuple(_charts(frames, objects)),
        strips=tuple(f"object {i}" for i in with_memory),
        start=positions.index(worst[0]) if worst else 0,
        worst=tuple((positions.index(each), f"{frames[each].name}: {quality[each]:.2f}") for each in worst),
    )


def _images(video: Path, positions: set[int]) -> Iterator[tuple[int, str]]:
    """Pictures of the overlay video at these places; none where there is no video."""
    if not video.is_file():
        return
    with closing(open_source(str(video))) as source:
        for place, frame in zip(count(), source, strict=False):
            if place in positions:
                yield place, data_uri(frame.image)


def _charts(frames: Sequence[TrackedFrame], objects: Sequence[int]) -> Iterator[LineChart]:
    x = [frame.frame for frame in frames]
    total = [frame.latency_ms.get(TOTAL, math.nan) for frame in frames]
    yield line_chart("Milliseconds a frame", [Line("total", x, total, 0)], x_label="frame", from_zero=True, height=130)
    sizes, windows = [frame.size for frame in frames], [frame.window for frame in frames]
    if len(set(sizes)) > 1 or len(set(windows)) > 1:
        for title, values, colour in (("Input size, px", sizes, 1), ("Memory window, frames", windows, 2)):
            found = sorted(set(values))
            ticks = found if len(found) <= LEVELS_MAX else None
            line = Line(title, x, values, colour, step=True)
            yield line_chart(title, [line], x_label="frame", y_ticks=ticks, height=120)
    control = [
        Line(name, x, [scheduler_number(frame, name) for frame in frames], colour)
        for colour, name in enumerate(("error", "integral", "derivative", "output"))
    ]
    if drawn := [line for line in control if any(math.isfinite(value) for value in line.y)]:
        yield line_chart("Scheduler", drawn, x_label="frame", height=130)
    by_id = [{each.object_id: each for each in frame.objects} for frame in frames]
    quality = [
        Line(f"object {i}", x, [seen[i].quality if i in seen else math.nan for seen in by_id], n)
        for n, i in enumerate(objects)
    ]
    yield line_chart("Predicted IoU", quality, x_label="frame", y_range=(0, 1), height=120)
    ages = [Line(f"object {i}", x, [_mean_age(seen.get(i)) for seen in by_id], n) for n, i in enumerate(objects)]
    yield line_chart("Mean age of the memory's tokens, frames", ages, x_label="frame", from_zero=True, height=120)


def _stages(frames: Sequence[TrackedFrame]) -> TextTable:
    stages: dict[str, list[float]] = {}
    for frame in frames:
        for stage, value in (frame.latency_ms if frame.objects else {}).items():
            stages.setdefault(stage, []).append(value)
    rows = []
    for stage, values in stages.items():
        found = percentiles(values)
        if found.p99 > 0:
            rows.append((stage.replace("_", " "), *(number(each) for each in (found.p50, found.p95, found.p99))))
    return TextTable("Milliseconds a frame", ("stage", "p50", "p95", "p99"), tuple(rows))


def _setting(frame: TrackedFrame) -> str:
    words = f"{frame.time_s:.2f} s, {frame.size} px, window {frame.window}"
    if TOTAL in frame.latency_ms:
        words += f", {number(frame.latency_ms[TOTAL])} ms"
    for name in ("thermal", "reason"):
        if text := scheduler_text(frame, name):
            words += f", {name}: {text}"
    return words


def _object_words(frame: TrackedFrame, object_id: int) -> str:
    for each in frame.objects:
        if each.object_id == object_id:
            state = "prompted" if each.prompted else "in view" if each.visible else "out of view"
            area, tokens = f"{100 * each.area_share:.1f} % of the frame", sum(each.tokens_by_age.values())
            return f"{state}, predicted IoU {each.quality:.2f}, {area}, {tokens} tokens"
    return "not tracked yet"


def _memory(frame: TrackedFrame, object_id: int) -> dict[int, str]:
    for each in frame.objects:
        if each.object_id == object_id and each.memory_cells:
            return dict(sorted(each.memory_cells.items()))
    return {}


def _lowest_quality(frame: TrackedFrame) -> float:
    return min((each.quality for each in frame.objects if not each.prompted), default=math.nan)


def _mean_age(found: TrackedObject | None) -> float:
    tokens = 0 if found is None else sum(found.tokens_by_age.values())
    if found is None or tokens == 0:
        return math.nan
    return sum(age * held for age, held in found.tokens_by_age.items()) / tokens
