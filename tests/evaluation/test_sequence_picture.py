"""The picture of a sequence: which frames it shows, and what is drawn on them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam2lite_mobile.evaluation.sequence_picture import CAPTION_HEIGHT, CELL_WIDTH, COLUMNS, SequencePicture

HEIGHT, WIDTH = 90, 160
CELL_HEIGHT = CELL_WIDTH * HEIGHT // WIDTH
SQUARE = np.zeros((HEIGHT, WIDTH), np.uint8)
SQUARE[30:60, 60:100] = 1
NOTHING = np.zeros_like(SQUARE)


def grey(level: int) -> np.ndarray:
    """A frame that can be told from others by its brightness."""
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def cells_of(picture: SequencePicture) -> list[np.ndarray]:
    """The cells without their captions, in reading order."""
    pixels = cv2.imdecode(np.frombuffer(picture.jpeg(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert pixels.shape[1] == COLUMNS * CELL_WIDTH
    assert pixels.shape[0] % (CELL_HEIGHT + CAPTION_HEIGHT) == 0
    rows = pixels.reshape(-1, CELL_HEIGHT + CAPTION_HEIGHT, COLUMNS, CELL_WIDTH, 3).swapaxes(1, 2)
    return list(rows.reshape(-1, *rows.shape[2:])[:, CAPTION_HEIGHT:])


def shown(scores: list[float | None]) -> list[int]:
    """Numbers of the frames that a picture shows of a sequence with these J."""
    picture = SequencePicture(len(scores))
    for index, j in enumerate(scores):
        picture.add(index, f"{index:05d}", grey(10 * index), NOTHING, NOTHING, j)
    return [round(float(cell.mean()) / 10) for cell in cells_of(picture)]


def test_frames_are_evenly_apart_and_the_worst_one_comes_last() -> None:
    scores: list[float | None] = [0.9] * 21
    scores[7] = 0.2
    assert shown(scores) == [0, 5, 10, 15, 20, 7]


def test_neither_the_first_frame_nor_the_last_one_is_the_worst() -> None:
    scores: list[float | None] = [0.0, *[0.9] * 19, 0.0]
    scores[12] = 0.8
    assert shown(scores)[-1] == 12


@pytest.mark.parametrize(("frames", "expected"), [(3, [0, 1, 2, 1]), (4, [0, 1, 2, 3, 1])])
def test_short_sequence_shows_each_frame_once_and_leaves_cells_black(frames: int, expected: list[int]) -> None:
    blank = -len(expected) % COLUMNS
    assert shown([0.5] * frames) == expected + [0] * blank


def test_frames_before_the_first_object_are_shown_and_are_not_the_worst() -> None:
    assert shown([None] * 8 + [0.9, 0.7, 0.8, 0.9, 0.9]) == [0, 3, 6, 9, 12, 9]


def test_annotation_is_a_white_outline_and_the_found_mask_is_filled() -> None:
    picture = SequencePicture(2)
    picture.add(0, "0", grey(128), SQUARE, NOTHING, 0.0)
    picture.add(1, "1", grey(128), NOTHING, SQUARE, 0.0)
    missed, found = (cell.astype(int) for cell in cells_of(picture)[:2])
    edge, middle, outside = (slice(100, 140), 120), (90, 160), (20, 20)
    assert missed[edge].min(axis=1).max() > 220
    assert np.abs(missed[middle] - 128).max() < 12
    assert np.ptp(found[middle]) > 40  # a colour
    assert np.abs(found[outside] - 128).max() < 12


def test_long_sequence_makes_six_cells() -> None:
    picture = SequencePicture(1000)
    for index in range(1000):
        picture.add(index, str(index), grey(index % 200), SQUARE, SQUARE, 1 - index / 1000)
    assert len(cells_of(picture)) == 6
