"""Prompts drawn from masks: where boxes and taps lie, and that every kind occurs."""

from __future__ import annotations

import numpy as np
import pytest

from sam2lite_mobile import contract
from sam2lite_mobile.training.prompt_sampling import BOX_JITTER, sample_prompt
from tests.training.synthetic_data import disk

SIZE = 96
EMPTY, BACKGROUND, FOREGROUND = contract.LABEL_EMPTY, contract.LABEL_BACKGROUND, contract.LABEL_FOREGROUND
TOP_LEFT, BOTTOM_RIGHT = contract.LABEL_BOX_TOP_LEFT, contract.LABEL_BOX_BOTTOM_RIGHT


def draws(mask: np.ndarray, count: int = 300) -> list[tuple[np.ndarray, np.ndarray]]:
    return [sample_prompt(mask, np.random.default_rng(seed)) for seed in range(count)]


def round_mask() -> np.ndarray:
    """A disk that the left border cuts."""
    return disk(SIZE, SIZE, x=10, y=50, radius=20) * np.uint8(255)


def shown(mask: np.ndarray, point: np.ndarray) -> bool:
    column, row = np.floor(point * mask.shape[0]).astype(int)
    return bool(mask[row, column] > 127)


def test_taps_lie_on_the_object_and_background_taps_beside_it() -> None:
    mask = round_mask()
    for points, labels in draws(mask):
        assert all(shown(mask, point) for point in points[labels == FOREGROUND])
        assert not any(shown(mask, point) for point in points[labels == BACKGROUND])


def test_box_is_the_tight_one_with_each_side_moved_by_up_to_the_jitter() -> None:
    mask = round_mask()
    rows, columns = np.nonzero(mask)
    low = np.array([columns.min(), rows.min()]) / SIZE
    high = np.array([columns.max() + 1, rows.max() + 1]) / SIZE
    reach = BOX_JITTER * (high - low) + 1e-6
    boxes = [points[:2] for points, labels in draws(mask) if labels[0] == TOP_LEFT]
    for first, last in boxes:
        assert np.all(np.abs(first - low) <= reach)
        assert np.all(np.abs(last - high) <= reach)
        assert np.all((first >= 0) & (last <= 1))
    moved = np.array([last - high for _, last in boxes])
    assert np.all(moved.max(0) > 0.9 * BOX_JITTER * (high - low))  # the jitter is used on both sides
    assert np.all(moved.min(0) < -0.9 * BOX_JITTER * (high - low))
    assert min(first[0] for first, _ in boxes) == 0  # clipped to the frame


def test_slots_fill_from_the_first_and_corners_come_in_order() -> None:
    kinds = set()
    for points, labels in draws(round_mask()):
        used = int((labels != EMPTY).sum())
        assert 0 < used <= contract.PROMPT_SLOTS
        assert np.all(labels[:used] != EMPTY)
        assert np.all(points[used:] == 0)
        if TOP_LEFT in labels:
            assert labels[:2].tolist() == [TOP_LEFT, BOTTOM_RIGHT]
        assert (labels == TOP_LEFT).sum() == (labels == BOTTOM_RIGHT).sum() <= 1
        assert (labels == FOREGROUND).sum() <= 3
        kinds.add((TOP_LEFT in labels, FOREGROUND in labels, BACKGROUND in labels))
    assert kinds == {
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (False, True, False),
        (False, True, True),
    }


def test_first_tap_prefers_the_thick_part() -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[30:70, 10:40] = 255  # 1200 pixels of body
    mask[50, 40:90] = 255  # 50 of a whisker, which a plain draw would hit in 4 % of the cases
    mask[10:14, :] = 255  # 384 of a strip
    taps = [points[labels == FOREGROUND][0] for points, labels in draws(mask) if FOREGROUND in labels]
    in_body = [30 <= y * SIZE < 70 and x * SIZE < 40 for x, y in taps]
    assert np.mean(in_body) > 0.99


@pytest.mark.parametrize("value", [0, 127])
def test_mask_without_object_gives_no_prompt(value: int) -> None:
    points, labels = sample_prompt(np.full((SIZE, SIZE), value, np.uint8), np.random.default_rng(0))
    assert np.all(labels == EMPTY)
    assert np.all(points == 0)


def test_object_that_fills_the_frame_gets_no_background_tap() -> None:
    for points, labels in draws(np.full((SIZE, SIZE), 255, np.uint8), 100):
        assert BACKGROUND not in labels
        assert np.all((points >= 0) & (points <= 1))


def test_single_pixel_can_be_prompted() -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[95, 0] = 255
    for points, labels in draws(mask, 100):
        for point in points[labels == FOREGROUND]:
            assert point * SIZE == pytest.approx([0.5, 95.5])
        if TOP_LEFT in labels:
            assert np.all(points[1] > points[0])
