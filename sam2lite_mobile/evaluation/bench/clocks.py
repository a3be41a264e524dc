"""Two clocks side by side: wall time, and the processor time of the process.

On a machine that is shared, wall time holds other people's work as well; processor time does not. Where both agree,
the machine was quiet.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Times:
    """Milliseconds on both clocks. cpu_ms: of all threads of this process (`time.process_time`)."""

    wall_ms: float
    cpu_ms: float

    def __add__(self, other: Times) -> Times:
        return Times(self.wall_ms + other.wall_ms, self.cpu_ms + other.cpu_ms)

    def __sub__(self, other: Times) -> Times:
        return Times(self.wall_ms - other.wall_ms, self.cpu_ms - other.cpu_ms)


ZERO = Times(0.0, 0.0)


def now() -> Times:
    """Both clocks, each from a start of its own: only differences mean something."""
    return Times(time.perf_counter() * 1000, time.process_time() * 1000)


@dataclass
class Stopwatch:
    """Times by name, summed over the times that a part ran."""

    parts: dict[str, Times] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what happens inside to a part; nothing is added if it raises."""
        started = now()
        yield
        self.add(name, now() - started)

    def add(self, name: str, times: Times) -> None:
        """Add times to a part."""
        self.parts[name] = self.parts.get(name, ZERO) + times

    def take(self) -> dict[str, Times]:
        """The parts so far; the stopwatch starts again from nothing."""
        taken, self.parts = self.parts, {}
        return taken
