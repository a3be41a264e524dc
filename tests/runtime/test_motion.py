"""Motion: known displacements, plain loops, stillness, noise and a change of size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.frames import resize_frame
from sam2lite_mobile.runtime.motion import LUMA_GRID, RIDGE, cell_motion, luma_grid


def texture(shift_x: float, shift_y: float, *, side: int = 512) -> NDArray[np.uint8]:
    """Smooth waves in both directions, moved by a number of pixels at 512."""
    y, x = (np.indices((side, side)) + 0.5) * 512 / side
    x, y = x - shift_x, y - shift_y
    waves = 128 + 50 * np.sin(x * 2 * np.pi / 90) + 50 * np.sin(y * 2 * np.pi / 100)
    return np.repeat(waves.round().astype(np.uint8)[..., np.newaxis], 3, axis=2)


def random_grid(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (LUMA_GRID, LUMA_GRID), dtype=np.uint8)


@pytest.mark.parametrize(("shift_x", "shift_y"), [(8, 0), (0, 8), (-8, 0), (6, -8), (3, 4)])
def test_small_shift_is_read_as_a_share_of_the_cell(shift_x: float, shift_y: float) -> None:
    motion = cell_motion(luma_grid(texture(0, 0)), luma_grid(texture(shift_x, shift_y)))
    expected = math.hypot(shift_x, shift_y) / 32  # a cell is 32 px at 512
    inner = motion.reshape(16, 16)[1:-1, 1:-1]
    assert abs(float(np.median(inner)) - expected) < 0.15 * expected


def test_motion_stays_where_it_is() -> None:
    still, moved = texture(0, 0), texture(0, 0)
    moved[128:256, 320:448] = texture(6, 6)[128:256, 320:448]
    motion = cell_motion(luma_grid(still), luma_grid(moved)).reshape(16, 16)
    assert (motion[5:7, 11:13] > 0.1).all()
    assert (motion[:3] == 0).all()
    assert (motion[:, :9] == 0).all()


def test_first_frame_has_no_motion() -> None:
    motion = cell_motion(None, random_grid(0))
    assert motion.shape == (256,)
    assert motion.dtype == np.float32
    assert not motion.any()


def test_still_frame_has_no_motion() -> None:
    assert not cell_motion(random_grid(0), random_grid(0)).any()


def test_noise_in_flat_cells_is_not_motion() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.integers(99, 102, (LUMA_GRID, LUMA_GRID)).astype(np.uint8) for _ in range(2))
    assert cell_motion(first, second).max() < 0.35
    assert np.median(cell_motion(first, second)) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_motion_equals_plain_loops(seed: int) -> None:
    previous, current = random_grid(seed), random_grid(seed + 100)
    if seed % 2:
        current = np.clip(previous.astype(int) + current % 5, 0, 255).astype(np.uint8)

    def both(row: int, column: int) -> int:
        row, column = min(max(row, 0), LUMA_GRID - 1), min(max(column, 0), LUMA_GRID - 1)
        return int(previous[row, column]) + int(current[row, column])

    expected = []
    for cell in range(256):
        a, b, c, p, q = RIDGE, 0, RIDGE, 0, 0
        for sample in range(16):
            row, column = cell // 16 * 4 + sample // 4, cell % 16 * 4 + sample % 4
            gx = both(row, column + 1) - both(row, column - 1)
            gy = both(row + 1, column) - both(row - 1, column)
            change = int(current[row, column]) - int(previous[row, column])
            a, b, c, p, q = a + gx * gx, b + gx * gy, c + gy * gy, p + gx * change, q + gy * change
        u, v, determinant = float(p * c - q * b), float(q * a - p * b), float(a * c - b * b)
        expected.append(np.float32(min(math.sqrt(u * u + v * v) / determinant, 1.0)))
    motion = cell_motion(previous, current)
    assert motion.tobytes() == np.array(expected, np.float32).tobytes()
    assert 0 <= motion.min() <= motion.max() <= 1


@pytest.mark.parametrize("size", [256, 304, 352, 416, 464])
def test_change_of_input_size_is_not_motion(size: int) -> None:
    frame = texture(0, 0)
    motion = cell_motion(luma_grid(resize_frame(frame, 512)), luma_grid(resize_frame(frame, size)))
    assert motion.max() < 0.05


def test_luma_grid_averages_8_by_8_at_full_size() -> None:
    frame = np.zeros((512, 512, 3), np.uint8)
    frame[:8, :4] = 255  # half of the first sample
    frame[8:16, 8:16] = 10
    grid = luma_grid(frame)
    assert grid[0, 0] == 128
    assert grid[1, 1] == 10
    assert grid.sum() == 138


@pytest.mark.parametrize("grid", [np.zeros((32, 32), np.uint8), np.zeros((64, 64), np.float32)])
def test_another_grid_is_refused(grid: NDArray[np.uint8]) -> None:
    with pytest.raises(ContractError, match="luma grid"):
        cell_motion(random_grid(0), grid)
    with pytest.raises(ContractError, match="luma grid"):
        cell_motion(grid, random_grid(0))
