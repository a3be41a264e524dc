"""The virtual camera's crop: whole pixels inside the frame, around the object, still while it can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.fine_crop import DIVISORS, WHOLE, PixelBox, fitting_divisor, placed_crop, whole


@st.composite
def frames_and_boxes(draw: st.DrawFn, boxes: int = 1) -> tuple[int, int, list[PixelBox]]:
    """A frame's height and width, and boxes in it."""
    height, width = draw(st.integers(16, 1200)), draw(st.integers(16, 1200))
    made = []
    for _ in range(boxes):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        made.append(PixelBox(top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))))
    return height, width, made


@given(frames_and_boxes(boxes=4))
def test_crop_lies_in_the_frame_and_contains_the_object_whatever_came_before(
    drawn: tuple[int, int, list[PixelBox]],
) -> None:
    height, width, boxes = drawn
    crop, divisor = whole(height, width), WHOLE
    for extent in boxes:
        divisor = fitting_divisor(extent, height, width, current=divisor)
        crop = placed_crop(extent, height, width, divisor=divisor, current=crop)
        assert whole(height, width).contains(crop)
        assert crop.contains(extent)
        assert (crop.height, crop.width) == (-(-height // divisor), -(-width // divisor))


@given(frames_and_boxes(), st.sampled_from([WHOLE, *DIVISORS]))
def test_choice_of_the_crop_holds_still(drawn: tuple[int, int, list[PixelBox]], current: int) -> None:
    height, width, (extent,) = drawn
    divisor = fitting_divisor(extent, height, width, current=current)
    assert fitting_divisor(extent, height, width, current=divisor) == divisor
    crop = placed_crop(extent, height, width, divisor=divisor, current=whole(height, width))
    again = placed_crop(extent, height, width, divisor=divisor, current=crop)
    assert again == crop


@given(start=st.integers(0, 380), stride=st.integers(1, 6), frames=st.integers(10, 100))
def test_crop_moves_seldom_under_a_moving_object(start: int, stride: int, frames: int) -> None:
    side, height, width = 16, 480, 854
    crop, divisor, moves = whole(height, width), WHOLE, -1  # the first crop is no move
    for step in range(frames):
        left = min(start + stride * step, width - side)
        extent = PixelBox(200, left, 200 + side, left + side)
        divisor = fitting_divisor(extent, height, width, current=divisor)
        new = placed_crop(extent, height, width, divisor=divisor, current=crop)
        moves += new != crop
        crop = new
    free = (crop.width - side) // 2 - crop.width // 8  # from the middle to the margin
    assert moves <= stride * frames / free


def test_sizes_at_which_crops_are_entered_and_left() -> None:
    def divisor(side: int, current: int) -> int:
        return fitting_divisor(PixelBox(0, 0, side, 1), 256, 256, current=current)

    assert [divisor(side, WHOLE) for side in (1, 42, 43)] == [2, 2, WHOLE]
    assert [divisor(side, 2) for side in (1, 64, 65)] == [2, 2, WHOLE]


def test_long_object_is_not_tiny_in_its_other_axis() -> None:
    assert fitting_divisor(PixelBox(0, 0, 4, 200), 256, 256) == WHOLE


def test_a_new_crop_has_the_object_in_its_middle_and_stays_inside_at_the_border() -> None:
    middle = placed_crop(PixelBox(90, 100, 110, 120), 200, 400, divisor=2, current=whole(200, 400))
    assert middle == PixelBox(50, 10, 150, 210)
    corner = placed_crop(PixelBox(190, 390, 200, 400), 200, 400, divisor=2, current=middle)
    assert corner == PixelBox(100, 200, 200, 400)
    assert placed_crop(PixelBox(185, 385, 200, 400), 200, 400, divisor=2, current=corner) is corner


def test_crop_moves_when_the_margin_is_reached_and_not_before() -> None:
    start = PixelBox(50, 10, 150, 210)  # margins of 12 rows and 25 columns
    for left, moves in ((35, False), (34, True)):
        new = placed_crop(PixelBox(90, left, 100, left + 10), 200, 400, divisor=2, current=start)
        assert (new != start) is moves


def test_box_of_a_mask_is_tight() -> None:
    mask = np.zeros((20, 30), np.bool_)
    assert PixelBox.of_mask(mask) is None
    mask[4, 7] = mask[9, 3] = True
    assert PixelBox.of_mask(mask) == PixelBox(4, 3, 10, 8)
    assert mask[PixelBox(4, 3, 10, 8).slices].shape == (6, 5)


@given(frames_and_boxes(boxes=3))
def test_box_around_boxes_contains_each_and_no_more(drawn: tuple[int, int, list[PixelBox]]) -> None:
    around = PixelBox.around(drawn[2])
    assert around is not None
    assert all(around.contains(box) for box in drawn[2])
    for box, (edge, best) in itertools.product(drawn[2], (("top", min), ("right", max))):
        assert getattr(around, edge) == best(getattr(each, edge) for each in drawn[2])
        assert box.height <= around.height
    assert PixelBox.around([]) is None


def test_box_without_a_pixel_is_refused() -> None:
    with pytest.raises(ContractError, match="bottom > top"):
        PixelBox(3, 0, 3, 5)
