"""Prompts made from annotations: where the box and the click lie, in pixel coordinates."""

from __future__ import annotations

import numpy as np
import pytest

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.evaluation.prompting import PromptKind, interior_point, prompt_from_mask, tight_box
from sam2lite_mobile.runtime.prompts import Box, Point


def mask_of(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[rows, columns] = True
    return mask


def test_box_spans_the_edges_of_the_outermost_pixels() -> None:
    mask = mask_of(slice(4, 5), slice(7, 8)) | mask_of(slice(9, 12), slice(3, 6))
    assert tight_box(mask) == Box(3, 4, 8, 12)
    assert tight_box(np.ones((20, 30), np.bool_)) == Box(0, 0, 30, 20)


def test_click_is_the_centre_of_the_pixel_farthest_from_the_background() -> None:
    # A 7 x 7 block and a long thin arm: the middle of the block, not of the mask.
    mask = mask_of(slice(2, 9), slice(2, 9)) | mask_of(slice(5, 6), slice(9, 29))
    assert interior_point(mask) == Point(5.5, 5.5)


def test_click_keeps_away_from_the_border_of_the_image() -> None:
    assert interior_point(np.ones((21, 31), np.bool_)) == Point(10.5, 10.5)


def test_prompt_has_the_kind_that_was_asked_for() -> None:
    mask = mask_of(slice(2, 9), slice(2, 9))
    assert prompt_from_mask(mask, PromptKind.BOX).box == Box(2, 2, 9, 9)
    assert prompt_from_mask(mask, PromptKind.CLICK).points == (Point(5.5, 5.5),)
    assert prompt_from_mask(mask, PromptKind.MASK).mask is mask


def test_nothing_cannot_be_prompted() -> None:
    with pytest.raises(ContractError, match="got no pixel"):
        prompt_from_mask(np.zeros((4, 4), np.bool_), PromptKind.BOX)
