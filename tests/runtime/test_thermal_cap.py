"""What counts as hot, and for how long."""

from __future__ import annotations

from math import inf, nan

import pytest

from sam2lite_mobile.runtime.thermal_cap import COOL, COOLING_MS, Heat, heated, reading


@pytest.mark.parametrize(
    ("level", "headroom", "expected"),
    [
        (0, nan, 0),
        (2, nan, 2),
        (0, 0.84, 0),
        (0, 0.85, 1),
        (0, 0.95, 2),
        (0, 1.0, 3),
        (0, inf, 3),
        (0, -inf, 0),
        (3, 0.0, 3),
        (1, 0.97, 2),
    ],
)
def test_hotter_of_both_sources_counts(level: int, headroom: float, expected: int) -> None:
    assert reading(level, headroom) == expected


def test_hotter_counts_at_once() -> None:
    assert heated(COOL, 2, 5.0) == Heat(2)


def test_cooler_counts_after_thirty_seconds_of_nothing_hotter() -> None:
    heat = heated(Heat(2), 0, 1000.0)
    assert heat == Heat(2, 1000.0)
    heat = heated(heat, 1, 1000.0 + COOLING_MS - 1)
    assert heat.level == 2
    assert heated(heat, 2, 2000.0) == Heat(2)  # as hot as before: the wait starts again
    assert heated(heat, 1, 1000.0 + COOLING_MS) == Heat(1)
