"""How hot the device is, and the largest scale that it may run at then.

Two sources: a level 0..3 (iOS's ProcessInfo.thermalState; Android's thermal status, put onto four levels by the app)
and a headroom (Android's PowerManager.getThermalHeadroom: 1.0 is where severe throttling starts, NaN where it is not
supported or was asked too often). The hotter of the two counts.
"""

from __future__ import annotations

from dataclasses import dataclass

NOMINAL, FAIR, SERIOUS, CRITICAL = 0, 1, 2, 3
HEADROOM_STEPS = (0.85, 0.95, 1.0)
"""Headroom from which the device counts as fair, serious and critical."""
CAP_STEPS = (5, 4, 2, 0)
"""Largest scale by level, as steps of 0.1 above 0.5: 1.0, 0.9 when fair, 0.7 when serious, 0.5 when critical."""
COOLING_MS = 30_000.0
"""A cooler reading has to last this long before the cap follows it: heat is slow, readings jump."""


@dataclass(frozen=True)
class Heat:
    """level: what the cap follows, 0..3. cooler_since_ms: time stamp of the first of the cooler readings, if any."""

    level: int = NOMINAL
    cooler_since_ms: float | None = None


COOL = Heat()


def reading(thermal_level: int, headroom: float) -> int:
    """The level that both sources say, 0..3. headroom: any float; NaN says nothing."""
    level = thermal_level
    for hotter, step in enumerate(HEADROOM_STEPS, start=1):
        if headroom >= step and hotter > level:
            level = hotter
    return level


def heated(heat: Heat, level: int, time_ms: float, *, cooling_ms: float = COOLING_MS) -> Heat:
    """The state after a reading: hotter at once, cooler when all readings of `cooling_ms` were."""
    if level >= heat.level:
        return Heat(level)
    if heat.cooler_since_ms is None:
        return Heat(heat.level, time_ms)
    if time_ms - heat.cooler_since_ms >= cooling_ms:
        return Heat(level)
    return heat
