"""Masks: interpolation against plain float32 loops, competing objects, limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.masks import frame_mask, label_map, logits_at_frame


def random_logits(side: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((1, 1, side, side)).astype(np.float32)


def reference(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """One pixel at a time, each product and sum rounded to float32: along x, then along y."""
    side = logits.shape[2]

    def taps(pixel: int, length: int) -> tuple[int, int, np.float32, np.float32]:
        position = min(max((2 * pixel + 1) * side - length, 0), 2 * length * (side - 1))
        first, rest = divmod(position, 2 * length)
        unit = np.float32(2 * length)
        return first, min(first + 1, side - 1), np.float32(2 * length - rest) / unit, np.float32(rest) / unit

    out = np.empty((height, width), np.float32)
    for y in range(height):
        top, bottom, top_weight, bottom_weight = taps(y, height)
        for x in range(width):
            left, right, left_weight, right_weight = taps(x, width)
            upper, lower = (
                logits[0, 0, r, left] * left_weight + logits[0, 0, r, right] * right_weight for r in (top, bottom)
            )
            out[y, x] = upper * top_weight + lower * bottom_weight
    return out


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_interpolation_equals_plain_float32_loops(side: int, height: int, width: int, seed: int) -> None:
    logits = random_logits(side, seed)
    assert logits_at_frame(logits, height, width).tobytes() == reference(logits, height, width).tobytes()


@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 60), st.floats(-3, 3, width=32), st.integers(0, 9))
def test_mask_is_where_the_interpolated_logit_is_positive(
    side: int, height: int, width: int, offset: float, seed: int
) -> None:
    logits = random_logits(side, seed) + np.float32(offset)
    assert np.array_equal(frame_mask(logits, height, width), logits_at_frame(logits, height, width) > 0)


def test_edge_lies_half_way_between_opposite_logits() -> None:
    logits = np.full((1, 1, 4, 4), -4, np.float32)
    logits[..., 1:3, 1:3] = 4
    mask = frame_mask(logits, 16, 32)
    expected = np.zeros((16, 32), np.bool_)
    expected[4:12, 8:24] = True
    # Corners are cut by bilinear interpolation; the sides are exact.
    assert np.array_equal(mask[6:10], expected[6:10])
    assert np.array_equal(mask[:, 12:20], expected[:, 12:20])


def test_zero_logit_is_background() -> None:
    assert not frame_mask(np.zeros((1, 1, 4, 4), np.float32), 8, 8).any()


def test_frame_smaller_than_the_logits_samples_them() -> None:
    logits = np.full((1, 1, 8, 8), -1, np.float32)
    logits[0, 0, :, 4:] = 1
    assert frame_mask(logits, 2, 2).tolist() == [[False, True], [False, True]]


def test_grid_of_the_frame_is_unchanged() -> None:
    logits = random_logits(16)
    assert np.array_equal(logits_at_frame(logits, 16, 16), logits[0, 0])


def test_highest_logit_wins_a_pixel() -> None:
    low, high, none = (np.full((1, 1, 2, 2), value, np.float32) for value in (1, 2, -1))
    high[0, 0, :, 1] = -8
    labels = label_map({7: low, 3: high, 200: none}, 2, 2)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[3, 7], [3, 7]]


def test_equal_logits_go_to_the_lower_id_whatever_the_order() -> None:
    same = np.ones((1, 1, 2, 2), np.float32)
    assert (label_map({9: same, 4: same}, 3, 5) == 4).all()
    assert (label_map({4: same, 9: same}, 3, 5) == 4).all()


def test_no_objects_leave_background() -> None:
    assert not label_map({}, 3, 5).any()


@pytest.mark.parametrize("object_id", [0, 256, -1, True, "1"])
def test_id_that_a_byte_cannot_hold_is_refused(object_id: int) -> None:
    with pytest.raises(ContractError, match="object id"):
        label_map({object_id: random_logits(4)}, 4, 4)


@pytest.mark.parametrize(
    "logits",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((2, 1, 4, 4), np.float32),
        np.zeros((1, 1, 0, 4), np.float32),
        np.zeros((1, 1, 4, 4), np.float64),
        np.full((1, 1, 4, 4), np.nan, np.float32),
    ],
)
def test_bad_logits_are_refused(logits: NDArray[np.float32]) -> None:
    with pytest.raises(ContractError, match="mask logits"):
        frame_mask(logits, 4, 4)


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, 0), (8193, 4)])
def test_frame_over_the_limit_is_refused(height: int, width: int) -> None:
    with pytest.raises(ContractError, match="frame"):
        frame_mask(random_logits(4), height, width)
