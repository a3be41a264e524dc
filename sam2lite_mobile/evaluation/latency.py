"""How long stages take: the distribution of times over frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

TIMER_SCOPE = (
    "host wall clock around each stage of one Tracker.step, in milliseconds; reading and decoding files, scoring and "
    "writing are outside"
)
"""What is inside the timer: every report that holds a time says it."""


class Percentiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Distribution of one stage's time over all frames, in milliseconds."""

    mean: float
    p50: float
    p95: float
    p99: float
    frames: int


def percentiles(values_ms: Sequence[float]) -> Percentiles:
    """Mean, p50, p95 and p99 of times in milliseconds, linear between neighbours. Values must not be empty."""
    p50, p95, p99 = np.percentile(values_ms, (50, 95, 99))
    return Percentiles(float(np.mean(values_ms)), float(p50), float(p95), float(p99), len(values_ms))


def frames_per_second(total: Percentiles) -> float:
    """Frames a second when frame follows frame: 1000 over the mean of their times in milliseconds. 0 for no time."""
    return 1000 / total.mean if total.mean > 0 else 0.0
