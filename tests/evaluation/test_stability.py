"""Stability measures on masks and scores whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.evaluation.flicker import FLICKER_TOLERANCE, Change, FlickerMeter, carried, mask_flicker
from sam2lite_mobile.evaluation.results import ObjectScores, stability_of
from sam2lite_mobile.evaluation.stability import object_stability, slope

SHAPE = (120, 160)
"""Diagonal 200 px: flicker forgives 1 px."""


def square(top: int, left: int, side: int = 40) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def still() -> NDArray[np.float32]:
    return np.zeros((*SHAPE, 2), np.float32)


def textured(rng: np.random.Generator, left: int) -> NDArray[np.uint8]:
    """A textured square on another texture; the square moves, the background does not."""
    noise = np.random.default_rng(5).integers(0, 90, (SHAPE[0] // 4, SHAPE[1] // 4, 3))
    frame = np.kron(noise, np.ones((4, 4, 1))).astype(np.uint8)
    patch = np.kron(rng.integers(120, 255, (10, 10, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frame[40:80, left : left + 40] = patch
    return frame


def test_slope_is_that_of_the_line_of_least_squares() -> None:
    assert slope([5.0]) == 0
    assert slope([1.0, 3.0, 5.0]) == 2
    values = [0.3, 0.9, 0.2, 0.8, 0.1]
    assert slope(values) == pytest.approx(np.polyfit(range(5), values, 1)[0])


def test_drift_is_points_of_jf_over_a_hundred_frames_without_both_ends() -> None:
    inner_j, inner_f = [0.8, 0.7, 0.6, 0.5], [0.9, 0.9, 0.9, 0.9]
    found = object_stability([0.0, *inner_j, 1.0], [1.0, *inner_f, 0.0])
    assert found.drift == pytest.approx(100 * -0.05)
    # Stretches of the decay share their bounds, as in DAVIS: frames 1 to 2 against 3 to 4.
    assert found.decay == pytest.approx((0.85 + 0.8) / 2 - (0.75 + 0.7) / 2)
    assert found.consistency == pytest.approx(np.std(inner_j))


def test_steady_scores_have_no_drift_and_no_deviation() -> None:
    found = object_stability([1.0] + [0.75] * 9, [1.0] + [0.5] * 9)
    assert (found.drift, found.decay, found.consistency) == (0, 0, 0)
    assert (found.flicker, found.annotated_flicker) == (None, None)
    with pytest.raises(ContractError, match="evaluated frames"):
        object_stability([1.0, 1.0], [1.0, 1.0])


def test_flicker_leaves_out_changes_from_the_given_frame_and_to_the_last() -> None:
    found = object_stability([1] * 5, [1] * 5, flicker=[1.0, 0.2, 0.4, 1.0], annotated_flicker=[0.9, 0.1, 0.1, 0.9])
    assert (found.flicker, found.annotated_flicker) == (pytest.approx(0.3), pytest.approx(0.1))
    assert object_stability([1] * 3, [1] * 3, flicker=[1.0, 1.0]).flicker is None  # no change between two of one frame


def test_objects_count_alike_and_flicker_counts_where_it_was_measured() -> None:
    steady = ObjectScores(
        1, 0, [1.0, 0.5, 0.5, 1.0], [1.0, 0.5, 0.5, 1.0], flicker=[0, 0.25, 0], annotated_flicker=None
    )
    sinking = ObjectScores(2, 0, [1.0, 0.75, 0.25, 1.0], [1.0, 0.75, 0.25, 1.0])
    found = stability_of([steady, sinking])
    assert found.drift == pytest.approx((0 - 50) / 2)
    assert (found.consistency, found.flicker, found.annotated_flicker) == (0.125, 0.25, None)


def test_static_mask_has_no_flicker_and_one_that_blinks_has_all_of_it() -> None:
    mask, empty = square(40, 40), np.zeros(SHAPE, np.bool_)
    assert mask_flicker(mask, mask, still()) == 0
    assert mask_flicker(mask, empty, still()) == mask_flicker(empty, mask, still()) == 1
    assert mask_flicker(empty, empty, still()) == 0


def test_mask_is_looked_up_where_the_flow_points_to() -> None:
    flow = still()
    flow[..., 0], flow[..., 1] = -7, 3  # the later place is 7 px right of the earlier one, and 3 px above it
    assert np.array_equal(carried(square(40, 40), flow), square(37, 47))
    assert mask_flicker(square(40, 40), square(37, 47), flow) == 0
    assert mask_flicker(square(40, 40), square(40, 40), flow) > 0.5


def test_boundary_counts_as_changed_beyond_the_tolerance_only() -> None:
    assert FLICKER_TOLERANCE * np.hypot(*SHAPE) == pytest.approx(0.4)  # rounded up: 1 px
    assert mask_flicker(square(40, 40), square(40, 41), still()) == 0
    # 2 px aside, the two sides across the motion match nowhere but near their ends: less than half remains.
    assert 0.4 < mask_flicker(square(40, 40), square(40, 42), still()) < 0.6


def test_mask_that_follows_a_moving_object_hardly_flickers_and_one_that_shakes_does() -> None:
    meter, changes = FlickerMeter(), []
    for step in range(6):
        left = 30 + 4 * step
        image = textured(np.random.default_rng(3), left)
        truth = square(40, left).astype(np.uint8)
        shaken = square(40 + 4 * (step % 2), left).astype(np.uint8)
        changes.append(meter.step(image, truth, shaken, (1,)))
    assert changes[0] == {}
    annotated = [each[1].annotated for each in changes[1:]]
    predicted = [each[1].predicted for each in changes[1:]]
    assert max(annotated) < 0.05
    assert min(predicted) > 0.3


def test_flicker_is_told_of_the_objects_asked_for() -> None:
    meter, image = FlickerMeter(), textured(np.random.default_rng(3), 40)
    labels = square(40, 40).astype(np.uint8) + 2 * square(0, 0, 20).astype(np.uint8)
    assert meter.step(image, labels, labels, (1, 2)) == {}
    gone = np.where(labels == 2, 0, labels).astype(np.uint8)
    assert meter.step(image, labels, gone, (1, 2)) == {1: Change(0, 0), 2: Change(1, 0)}
    assert meter.step(image, labels, gone, ()) == {}
