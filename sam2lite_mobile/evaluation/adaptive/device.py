"""A simulated device: measured latencies, a load over time, noise, and a body that heats up and throttles."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.evaluation.adaptive.latency_table import LatencyTable
from sam2lite_mobile.runtime.scheduler import Decision, Measurement, Scheduler, window_at

Load = Callable[[int], float]
"""Factor on the time of frame n, 1.0 for the device as it was measured."""


def no_load(frame: int) -> float:
    """The device as it was measured."""
    return 1.0


@dataclass(frozen=True)
class Heating:
    """A body of one heat capacity (Newton's law of cooling). These figures are assumed; no phone was measured.

    Temperature 0 is idle, 1 is where severe throttling starts, as Android's headroom has it. A device that is busy all
    the time would come to `full_power`, nearing it with `time_constant_s`. At 1 the clock falls: times are multiplied
    by `throttled`, until it has cooled to `released`.
    """

    full_power: float = 1.3
    time_constant_s: float = 60.0
    throttled: float = 2.0
    released: float = 0.9


@dataclass
class SimulatedDevice:
    """Frames of a table's times under a load. The same seed gives the same frames.

    overhead_ms: what each frame costs beside the tracker, at every size. jitter: standard deviation of the noise, a
    share. spikes: milliseconds added to single frames. period_ms: a camera's, which a faster frame waits for; the wait
    cools the device. heating: None for a device that stays cool.
    """

    table: LatencyTable
    load: Load = no_load
    jitter: float = 0.0
    overhead_ms: float = 0.0
    spikes: dict[int, float] = field(default_factory=dict)
    period_ms: float = 0.0
    heating: Heating | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._temperature = 0.0
        self._throttled = False
        self._time_ms = 0.0
        self._index = 0

    @property
    def temperature(self) -> float:
        """0 idle, 1 severe throttling."""
        return self._temperature

    @property
    def throttled(self) -> bool:
        """Whether the clock is down."""
        return self._throttled

    def expected_ms(self, index: int, size: int, window: int) -> float:
        """Time of frame `index` at these settings, without noise, spikes and throttling."""
        return self.overhead_ms + self.load(index) * self.table.frame_ms(size, window)

    def largest_within(self, index: int, limit_ms: float) -> int:
        """The largest size whose frame `index` is expected within a limit, as an index of the table's; 0 if none is."""
        sizes = self.table.sizes
        fits = [self.expected_ms(index, size, window_at(SIZES.index(size))) <= limit_ms for size in sizes]
        return max((level for level, fit in enumerate(fits) if fit), default=0)

    def run(self, decision: Decision) -> Measurement:
        """The next frame at a decision's size and window: what a phone would measure. Headroom is the temperature."""
        index = self._index
        noise = max(1 + self.jitter * self._random.gauss(0, 1), 0.1)
        slow = self.heating.throttled if self.heating is not None and self._throttled else 1.0
        expected = self.expected_ms(index, decision.size, decision.window)
        frame_ms = expected * slow * noise + self.spikes.get(index, 0.0)
        elapsed_ms = max(frame_ms, self.period_ms)
        if self.heating is not None:
            self._heat(self.heating, busy=frame_ms / elapsed_ms, seconds=elapsed_ms / 1000)
        self._time_ms += elapsed_ms
        self._index += 1
        return Measurement(frame_ms, self._time_ms, headroom=self._temperature if self.heating else float("nan"))

    def _heat(self, heating: Heating, *, busy: float, seconds: float) -> None:
        share = min(seconds / heating.time_constant_s, 1.0)
        self._temperature += (busy * heating.full_power - self._temperature) * share
        self._throttled = self._temperature >= (heating.released if self._throttled else 1.0)


@dataclass(frozen=True)
class SimulatedFrame:
    """One frame: what it ran with, its time, what it would take without noise, and the state of the device."""

    decision: Decision
    frame_ms: float
    expected_ms: float
    temperature: float
    throttled: bool


def simulate(device: SimulatedDevice, scheduler: Scheduler, frames: int) -> list[SimulatedFrame]:
    """Frames of a device under a scheduler, from the scheduler's present state on."""
    seen = []
    for index in range(frames):
        decision = scheduler.decision
        expected = device.expected_ms(index, decision.size, decision.window)
        measurement = device.run(decision)
        scheduler.observe(measurement)
        seen.append(SimulatedFrame(decision, measurement.frame_ms, expected, device.temperature, device.throttled))
    return seen
