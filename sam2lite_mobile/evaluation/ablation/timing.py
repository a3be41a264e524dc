"""What a frame of each variant takes: interleaved rounds on the sample clip, one frame of every variant a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from sam2lite_mobile.evaluation.ablation.variants import DEFAULT, RATE_GAIN, Variant
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.latency import percentiles
from sam2lite_mobile.evaluation.memory_choice import choosing_tracker
from sam2lite_mobile.media.json_file import read_json
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.prompts import Prompt

WARM_UP = 10
"""Rounds before the first timed one: they fill the bank and the longest window, and the scheduler settles."""
FIRST_LOOK = 12
"""Frames of the default alone that the adaptive variant's target is taken from."""
TIMES_BYTES = 2**20
Engines = Callable[[Variant], Engine]


class VariantTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds a frame of one variant, and the median of its ratios to the default, round by round."""

    name: str
    p50_ms: float
    p95_ms: float
    ratio: float


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times of all variants. clip: what they ran on. target_fps: of the adaptive variant."""

    clip: str
    rounds: int
    target_fps: float
    variants: tuple[VariantTime, ...]


def measure_times(
    variants: Sequence[Variant],
    engines: Engines,
    clip: Clip,
    *,
    rounds: int,
    target_fps: float | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> Times:
    """Time a frame of each variant. The default is among them, and first; engines are warmed up.

    target_fps: of the adaptive variant; RATE_GAIN times the default's rate if left out. on_round: called with the
    rounds done and their number. A frame is one step, from a decoded frame to the mask at its size, one object.
    """
    if target_fps is None:
        default = _Stepper(variants[0], engines, clip, target_fps=None)
        first = [default.step_ms() for _ in range(FIRST_LOOK)]
        target_fps = RATE_GAIN * 1000 / statistics.median(first[FIRST_LOOK // 2 :])
    steppers = [_Stepper(variant, engines, clip, target_fps=target_fps) for variant in variants]
    taken: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for index in range(WARM_UP + rounds):
        for stepper in steppers:
            ms = stepper.step_ms()
            if index >= WARM_UP:
                taken[stepper.variant.name].append(ms)
        if on_round is not None:
            on_round(index + 1, WARM_UP + rounds)
    found = []
    for name, values in taken.items():
        spread = percentiles(values)
        ratios = [mine / its for mine, its in zip(values, taken[DEFAULT], strict=True)]
        found.append(VariantTime(name, spread.p50, spread.p95, statistics.median(ratios)))
    return Times(clip.name, rounds, target_fps, tuple(found))


def read_times(path: Path) -> Times:
    """Times as `write_times` wrote them. Raises DataError for another file."""
    do = "remove it, and measure again"
    return read_json(path, Times, max_bytes=TIMES_BYTES, expected="times of an ablation", do=do)


class _Stepper:
    """Steps one variant through the endless clip."""

    def __init__(self, variant: Variant, engines: Engines, clip: Clip, *, target_fps: float | None) -> None:
        self.variant = variant
        engine = engines(variant)
        tracker = choosing_tracker(engine, variant.memory, size=variant.size, window=variant.window)
        self._step = variant.pace(engine.sizes, target_fps=target_fps).step_of(tracker)
        self._clip = clip
        self._next = 0

    def step_ms(self) -> float:
        frame = self._clip.frame(self._next)
        prompts = {1: Prompt.from_mask(self._clip.mask)} if self._next == 0 else None
        started = time.perf_counter()
        self._step(frame, prompts)
        self._next += 1
        return (time.perf_counter() - started) * 1000
