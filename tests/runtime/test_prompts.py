"""Prompts: slots, shares and labels; exact mask logits; every refusal."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.contract import MASK_PROMPT_LOGIT, PROMPT_SLOTS
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.prompts import Box, Point, Prompt, check_prompt, encode_prompt, mask_prompt_logits

BOX = Box(10, 20, 30, 50)


def test_box_takes_two_slots_and_points_follow_in_order() -> None:
    prompt = Prompt.from_box(BOX, points=[Point(40, 25), Point(0, 100, 0)])
    points, labels = encode_prompt(prompt, 100, 80)
    assert points.shape == (1, PROMPT_SLOTS, 2)
    assert points.dtype == labels.dtype == np.float32
    assert labels.tolist() == [[2, 3, 1, 0, -1, -1, -1, -1]]
    expected = np.array([[10 / 80, 0.2], [30 / 80, 0.5], [0.5, 0.25], [0, 1]], np.float32)
    assert np.array_equal(points[0, :4], expected)
    assert not points[0, 4:].any()


def test_no_prompt_is_eight_empty_slots() -> None:
    points, labels = encode_prompt(None, 100, 80)
    assert not points.any()
    assert labels.tolist() == [[-1.0] * PROMPT_SLOTS]


def test_share_is_rounded_once_from_a_float64_quotient() -> None:
    points, _ = encode_prompt(Prompt.from_points([Point(1 / 3, 0.1)]), 7, 3)
    assert points[0, 0].tolist() == [float(np.float32((1 / 3) / 3)), float(np.float32(0.1 / 7))]


def test_every_slot_can_be_filled_and_none_more() -> None:
    eight = [Point(i, i) for i in range(PROMPT_SLOTS)]
    assert (encode_prompt(Prompt.from_points(eight), 9, 9)[1] == 1).all()
    with pytest.raises(ContractError, match="at most 8 slots"):
        Prompt.from_points([*eight, Point(8, 8)])
    with pytest.raises(ContractError, match="at most 8 slots"):
        Prompt.from_box(BOX, points=eight[:7])


@pytest.mark.parametrize(("x", "y"), [(-0.5, 1), (1, -0.5), (81, 1), (1, 101)])
def test_prompt_outside_the_frame_is_refused(x: float, y: float) -> None:
    with pytest.raises(ContractError, match=r"x in 0\.\.80, y in 0\.\.100"):
        check_prompt(Prompt.from_points([Point(5, 5), Point(x, y)]), 100, 80)


def test_box_outside_the_frame_is_refused() -> None:
    check_prompt(Prompt.from_box(Box(0, 0, 80, 100)), 100, 80)
    with pytest.raises(ContractError, match=r"got \(80.5, 100\)"):
        check_prompt(Prompt.from_box(Box(0, 0, 80.5, 100)), 100, 80)


@pytest.mark.parametrize(
    "corners", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (0, 0, float("nan"), 1), (0, 0, 1, float("inf"))]
)
def test_box_without_area_is_refused(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ContractError, match="box: expected x1 > x0"):
        Box(*corners)


@pytest.mark.parametrize("label", [-1, 2, 3])
def test_point_label_of_a_box_corner_is_refused(label: int) -> None:
    with pytest.raises(ContractError, match="point label"):
        Point(1, 1, label)


def test_point_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ContractError, match="finite coordinates"):
        Point(float("nan"), 1)


def test_prompt_of_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match="a box, points or a mask"):
        Prompt()


def test_mask_excludes_box_and_points() -> None:
    mask = np.ones((4, 4), np.bool_)
    with pytest.raises(ContractError, match="a mask alone"):
        Prompt(box=BOX, mask=mask)
    with pytest.raises(ContractError, match="a mask alone"):
        Prompt(points=(Point(1, 1),), mask=mask)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4), np.bool_), np.ones((4, 4), np.float32), np.ones((4, 4, 1), np.uint8), [[1]]]
)
def test_bad_mask_is_refused(mask: object) -> None:
    with pytest.raises(ContractError, match="mask prompt"):
        Prompt.from_mask(mask)  # type: ignore[arg-type]


def test_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ContractError, match=r"the frame's \(8, 4\)"):
        check_prompt(Prompt.from_mask(np.ones((4, 8), np.uint8)), 8, 4)


def test_mask_does_not_become_slots() -> None:
    with pytest.raises(ContractError, match="use mask_prompt_logits"):
        encode_prompt(Prompt.from_mask(np.ones((4, 8), np.uint8)), 4, 8)


@pytest.mark.parametrize(
    ("prompt", "shows"),
    [
        (Prompt.from_box(BOX), True),
        (Prompt.from_points([Point(1, 1, 0), Point(2, 2, 1)]), True),
        (Prompt.from_points([Point(1, 1, 0)]), False),
        (Prompt.from_mask(np.ones((1, 1), np.uint8)), True),
    ],
)
def test_background_clicks_alone_do_not_show_an_object(prompt: Prompt, shows: bool) -> None:
    assert prompt.shows_object is shows


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 5))
def test_mask_logits_are_the_exact_area_average(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < 0.5
    mask[rng.integers(height), rng.integers(width)] = True
    logits = mask_prompt_logits(mask, 256)
    assert logits.shape == (1, 1, 64, 64)
    assert logits.dtype == np.float32
    for row, column in rng.integers(0, 64, (4, 2)).tolist():
        top, left = Fraction(row * height, 64), Fraction(column * width, 64)
        area = Fraction(0)
        for y, x in np.argwhere(mask).tolist():
            down = min(Fraction(y + 1), top + Fraction(height, 64)) - max(Fraction(y), top)
            across = min(Fraction(x + 1), left + Fraction(width, 64)) - max(Fraction(x), left)
            area += max(down, Fraction(0)) * max(across, Fraction(0))
        mean = area / (Fraction(height, 64) * Fraction(width, 64))
        assert logits[0, 0, row, column] == np.float32(float((2 * mean - 1) * int(MASK_PROMPT_LOGIT)))


def test_half_covered_cell_is_undecided() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:, :6] = 7
    logits = mask_prompt_logits(mask, 256)[0, 0]
    assert logits[0, :3].tolist() == [16.0, 0.0, -16.0]
    assert (logits == logits[0]).all()


def test_bool_and_byte_masks_agree() -> None:
    mask = np.random.default_rng(0).random((33, 57)) < 0.3
    assert np.array_equal(mask_prompt_logits(mask, 304), mask_prompt_logits(mask.astype(np.uint8) * 200, 304))
