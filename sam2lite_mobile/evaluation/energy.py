"""Energy of tracking: the hardware's counters where the machine lets us read them, else a stated model.

Counters: Linux powercap, /sys/class/powercap/intel-rapl:N, one for each processor package (Intel and AMD; RAPL). They
count the whole package, idle power and other processes included. Kernels since 5.10 let only root read them.

Model: processor seconds of this process times a stated power of a busy core. It knows no memory, no screen, no idle
power and no clock rates; it compares settings on one machine, and does not predict a phone's battery.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

POWERCAP = Path("/sys/class/powercap")
PACKAGE_PATTERN = "intel-rapl:[0-9]*"
"""Packages are intel-rapl:N; their parts, intel-rapl:N:M, are counted in them."""
WATTS_PER_CORE = 3.5
"""Power of a busy virtual core: mean over AWS's machines at full load (MAX_WATTS_AVG in AwsFootprintEstimationConstants
of Cloud Carbon Footprint, from SPECpower_ssj2008)."""
VIDEO_MINUTES = 10
VIDEO_FPS = 30
"""The methodology's video is ten minutes long; it does not say at which rate."""
JOULES_PER_WATT_HOUR = 3600
MICRO = 1e-6
COUNTERS, MODEL = "counters", "model"

Amount = Annotated[float, Meta(ge=0)]


class Energy(Struct, frozen=True, forbid_unknown_fields=True):
    """Energy of tracking, and how it is known.

    method: `counters` (RAPL, all packages) or `model` (processor seconds times `watts_per_core`, which is None with
    counters). processor_s_per_frame: of all threads of the process. watt_hours: of `video_minutes` of video at
    `video_fps` frames a second, every frame tracked, however long that takes.
    """

    method: str
    joules_per_frame: Amount
    watt_hours: Amount
    processor_s_per_frame: Amount
    frames: Annotated[int, Meta(ge=1)]
    watts_per_core: Amount | None
    video_minutes: Amount = VIDEO_MINUTES
    video_fps: Amount = VIDEO_FPS


@dataclass(frozen=True)
class _Counter:
    """One package's energy in microjoules, and where it starts again from 0."""

    path: Path
    wraps_at: int

    def read(self) -> int:
        return int(self.path.read_text(encoding="ascii"))


class EnergyCounters:
    """The packages' counters. Made by `open_counters`."""

    def __init__(self, counters: tuple[_Counter, ...]) -> None:
        self._counters = counters

    def read(self) -> tuple[int, ...]:
        """Microjoules of each package, from a start of its own."""
        return tuple(counter.read() for counter in self._counters)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Energy between two readings, all packages together. A counter may have started again once between them."""
        total = 0
        for counter, first, second in zip(self._counters, before, after, strict=True):
            total += second - first if second >= first else second - first + counter.wraps_at
        return total * MICRO


def open_counters(root: Path = POWERCAP) -> EnergyCounters | None:
    """The counters of this machine; None where it has none, or where one of them may not be read."""
    found = []
    try:
        for folder in sorted(root.glob(PACKAGE_PATTERN)):
            if folder.name.count(":") > 1:
                continue
            counter = _Counter(
                folder / "energy_uj", int((folder / "max_energy_range_uj").read_text(encoding="ascii")) + 1
            )
            counter.read()
            found.append(counter)
    except (OSError, ValueError):
        return None
    return EnergyCounters(tuple(found)) if found else None


@dataclass
class EnergyMeter:
    """Adds up what tracked frames cost: call `start` before a frame and `stop` after it.

    counters: None where there are none, or where other processes of this evaluation run beside this one, whose energy
    they would count as well. counter_j is None then.
    """

    counters: EnergyCounters | None = None
    clock: Callable[[], float] = time.process_time
    processor_s: float = 0.0
    counter_j: float | None = None
    _started_s: float = 0.0
    _started: tuple[int, ...] = ()

    def start(self) -> None:
        """A frame begins."""
        if self.counters is not None:
            self._started = self.counters.read()
        self._started_s = self.clock()

    def stop(self) -> None:
        """The frame is tracked."""
        self.processor_s += self.clock() - self._started_s
        if self.counters is not None:
            self.counter_j = (self.counter_j or 0.0) + self.counters.joules(self._started, self.counters.read())


def energy_of(
    frames: int, *, processor_s: float, counter_j: float | None, watts_per_core: float = WATTS_PER_CORE
) -> Energy:
    """Energy of so many frames, 1 or more: by the counters where they were read, else by the model."""
    joules = processor_s * watts_per_core if counter_j is None else counter_j
    video_frames = VIDEO_MINUTES * 60 * VIDEO_FPS
    return Energy(
        method=MODEL if counter_j is None else COUNTERS,
        joules_per_frame=joules / frames,
        watt_hours=joules / frames * video_frames / JOULES_PER_WATT_HOUR,
        processor_s_per_frame=processor_s / frames,
        frames=frames,
        watts_per_core=watts_per_core if counter_j is None else None,
    )
