"""Frames: the resize against plain loops, values that can be read off, limits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.frames import BLOCK_ROWS, area_sums, image_tensor, luma, resize_frame


def random_frame(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def averaged(line: list[int], size: int) -> list[int]:
    box = max(1, len(line) // size)
    return [(sum(line[i * box : (i + 1) * box]) + box // 2) // box for i in range(len(line) // box)]


def mixed(line: list[int], size: int, length: int) -> list[int]:
    box = max(1, length // size)
    result = []
    for o in range(size):
        position = (2 * o + 1) * length * 256 // (2 * size * box) - 128
        first, weight = divmod(min(max(position, 0), (len(line) - 1) * 256), 256)
        second = min(first + 1, len(line) - 1)
        result.append((line[first] * (256 - weight) + line[second] * weight + 128) // 256)
    return result


def reference_resize(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The four steps of the module's docstring, one byte at a time."""
    height, width = frame.shape[:2]
    planes = []
    for channel in range(3):
        plane = frame[..., channel].astype(int)
        plane = np.array([averaged(list(column), size) for column in plane.T]).T
        plane = np.array([averaged(list(row), size) for row in plane])
        plane = np.array([mixed(list(row), size, width) for row in plane])
        plane = np.array([mixed(list(column), size, height) for column in plane.T]).T
        planes.append(plane)
    return np.stack(planes, axis=-1).astype(np.uint8)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(0, 9))
def test_resize_equals_plain_loops(height: int, width: int, size: int, seed: int) -> None:
    frame = random_frame(height, width, seed)
    assert np.array_equal(resize_frame(frame, size), reference_resize(frame, size))


@pytest.mark.parametrize(("height", "width"), [(BLOCK_ROWS * 2 + 7, 9), (9, 150), (2 * BLOCK_ROWS + 3, 141)])
def test_resize_equals_plain_loops_over_several_blocks(height: int, width: int) -> None:
    frame = random_frame(height, width)
    size = BLOCK_ROWS + 6
    assert np.array_equal(resize_frame(frame, size), reference_resize(frame, size))


def test_doubling_puts_pixel_centres_at_quarter_positions() -> None:
    frame = np.zeros((1, 2, 3), np.uint8)
    frame[0, 1] = 200
    assert resize_frame(frame, 4)[0, :, 0].tolist() == [0, 50, 150, 200]


def test_halving_averages_pairs_with_halves_up() -> None:
    frame = np.repeat(np.array([[0, 1, 10, 20, 7, 7, 255, 254]], np.uint8)[..., np.newaxis], 3, axis=2)
    assert resize_frame(np.repeat(frame, 4, axis=0), 4)[0, :, 1].tolist() == [1, 15, 7, 255]


def test_frame_of_the_right_size_is_unchanged() -> None:
    frame = random_frame(48, 48)
    assert np.array_equal(resize_frame(frame, 48), frame)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 255))
def test_flat_frame_stays_flat(height: int, width: int, level: int) -> None:
    assert (resize_frame(np.full((height, width, 3), level, np.uint8), 37) == level).all()


def test_largest_group_does_not_overflow() -> None:
    assert (resize_frame(np.full((8192, 32, 3), 255, np.uint8), 32) == 255).all()


def test_strided_frame_equals_its_copy() -> None:
    frame = random_frame(50, 122)[:, ::-2]
    assert np.array_equal(resize_frame(frame, 32), resize_frame(frame.copy(), 32))


def test_resize_leaves_the_frame_alone() -> None:
    frame = random_frame(90, 130)
    before = frame.copy()
    frame.setflags(write=False)
    resize_frame(frame, 32)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 8193, 3), np.uint8),
        [[0, 0, 0]],
    ],
)
def test_misshapen_frame_is_refused(frame: NDArray[np.uint8]) -> None:
    with pytest.raises(ContractError, match="frame: expected"):
        resize_frame(frame, 256)


@pytest.mark.parametrize("size", [0, -1, 31])
def test_size_that_would_overflow_an_average_is_refused(size: int) -> None:
    with pytest.raises(ContractError, match="resize"):
        resize_frame(np.zeros((8192, 1, 3), np.uint8), size)


def test_image_tensor_is_planar_rgb_with_whole_numbers() -> None:
    frame = random_frame(16, 16)
    tensor = image_tensor(resize_frame(frame, 16))
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert np.array_equal(tensor[0].transpose(1, 2, 0), frame)


def test_luma_weighs_the_channels() -> None:
    frame = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [1, 2, 3]]], np.uint8)
    assert luma(frame).tolist() == [[76, 149, 28, 255, (77 + 300 + 87) >> 8]]


@given(st.integers(1, 23), st.integers(1, 23), st.integers(1, 12), st.integers(1, 12))
def test_area_sums_are_exact_overlaps(height: int, width: int, rows: int, columns: int) -> None:
    plane = np.random.default_rng(height * 31 + width).integers(0, 256, (height, width), dtype=np.uint8)

    def overlap(pixel: int, cell: int, length: int, cells: int) -> Fraction:
        low = max(Fraction(pixel), Fraction(cell * length, cells))
        return max(min(Fraction(pixel + 1), Fraction((cell + 1) * length, cells)) - low, Fraction(0))

    sums = area_sums(plane, rows, columns)
    for row, column in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
        area = sum(
            overlap(y, row, height, rows) * overlap(x, column, width, columns) * int(plane[y, x])
            for y in range(height)
            for x in range(width)
        )
        assert sums[row, column] == area * rows * columns
