"""Remembered costs of the sizes, with figures to check by hand."""

from __future__ import annotations

import pytest

from sam2lite_mobile.runtime.level_costs import area_costs, expected_ms, learned

SIZES = (256, 352, 512)
AREAS = (0.25, 0.47265625, 1.0)


def test_guess_is_the_area() -> None:
    assert area_costs(SIZES) == AREAS


def test_time_at_another_size_has_the_ratio_of_the_costs() -> None:
    assert expected_ms(AREAS, level=2, level_ms=200.0, other=0) == 50.0
    assert expected_ms(AREAS, level=0, level_ms=50.0, other=2) == 200.0


def test_half_of_what_was_seen_is_taken_over() -> None:
    costs = learned(AREAS, AREAS, before=2, before_ms=200.0, after=0, after_ms=70.0)
    assert costs == (0.3, AREAS[1], 1.0)  # seen 0.35, known 0.25


def test_time_that_falls_faster_than_the_area_is_taken_for_the_area() -> None:
    assert learned(AREAS, AREAS, before=2, before_ms=200.0, after=0, after_ms=20.0) == AREAS


def test_smaller_size_that_took_longer_is_taken_for_no_gain() -> None:
    costs = learned(AREAS, AREAS, before=2, before_ms=200.0, after=0, after_ms=900.0)
    assert costs == (0.625, 0.625, 1.0)  # half of 0.25 and 1; the size between is brought up to it


def test_larger_size_that_took_no_longer_brings_the_others_along() -> None:
    costs = learned(AREAS, AREAS, before=0, before_ms=50.0, after=2, after_ms=50.0)
    top = (1.0 + 0.25) / 2
    assert costs == pytest.approx((0.25 / top, AREAS[1] / top, 1.0))


def test_neighbours_stay_within_the_ratio_of_their_areas() -> None:
    costs = learned(AREAS, AREAS, before=0, before_ms=50.0, after=1, after_ms=50.0)
    assert costs[1] / costs[0] == pytest.approx((0.25 + AREAS[1]) / 2 / 0.25)
    assert costs[2] / costs[1] == pytest.approx(1 / AREAS[1])  # was 1 / 0.361, more than the area allows
