"""Measuring a latency table: one tracker, frames of every size and window in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import numpy as np

from sam2lite_mobile import __version__
from sam2lite_mobile.contract import WINDOW_MAX, WINDOW_MIN
from sam2lite_mobile.evaluation.adaptive.latency_table import SCHEMA_VERSION, TOTAL, LatencyRow, LatencyTable
from sam2lite_mobile.evaluation.bench.clip import bench_clip
from sam2lite_mobile.evaluation.bench.conditions import load_average
from sam2lite_mobile.evaluation.conditions import engine_info, this_machine
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker

WINDOWS = (WINDOW_MIN, WINDOW_MAX)
"""The ends of the range: graphs have static shapes, so a window between costs what these do."""
FILL_FRAMES = 10
"""Frames before the first timed one, which fill the bank and the longest window."""
TIMER_SCOPE = (
    "processor time of the process (one thread: what the wall clock would say on a quiet machine) of one Tracker.step, "
    "in milliseconds; wall_ms is the wall clock around the same call"
)


def measure_table(
    engine: Engine,
    *,
    checkpoint_sha256: str | None,
    frames: int,
    objects: int = 1,
    on_frame: Callable[[], None] | None = None,
) -> LatencyTable:
    """The table of an engine on the sample clip, `frames` frames of each size and window, their medians.

    Sizes and windows take turns frame by frame, so that a neighbour on the machine hits all of them alike. Loads and
    warms up the engine. Raises DataError without the sample clip.
    """
    clip = bench_clip()
    for size in engine.sizes:
        engine.warm_up(size)
    tracker = Tracker(engine, size=engine.sizes[-1], timer=time.process_time)
    prompts = {object_id: Prompt.from_mask(clip.mask) for object_id in range(1, objects + 1)}
    for index in range(FILL_FRAMES):
        tracker.step(clip.frame(index), prompts=prompts if index == 0 else None)
    cells = list(product(engine.sizes, WINDOWS))
    stages: dict[tuple[int, int], list[dict[str, float]]] = {cell: [] for cell in cells}
    walls: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    load_start = load_average()
    index = FILL_FRAMES
    for _ in range(frames):
        for cell in cells:
            image = clip.frame(index)
            started = time.perf_counter()
            result = tracker.step(image, size=cell[0], window=cell[1])
            walls[cell].append((time.perf_counter() - started) * 1000)
            stages[cell].append(result.latency_ms)
            index += 1
            if on_frame is not None:
                on_frame()
    return LatencyTable(
        schema_version=SCHEMA_VERSION,
        package_version=__version__,
        engine=engine_info(engine.describe(), checkpoint_sha256),
        machine=this_machine(),
        clip=clip.name,
        objects=objects,
        bank_tokens=engine.bank_tokens,
        frames=frames,
        timer=TIMER_SCOPE,
        load_start=load_start,
        load_end=load_average(),
        rows=[_row(cell, stages[cell], walls[cell]) for cell in cells],
    )


def _row(cell: tuple[int, int], stages: list[dict[str, float]], walls: list[float]) -> LatencyRow:
    medians = {name: round(float(np.median([each[name] for each in stages])), 3) for name in stages[0]}
    total_ms = medians.pop(TOTAL)
    return LatencyRow(cell[0], cell[1], medians, total_ms, round(float(np.median(walls)), 3))
