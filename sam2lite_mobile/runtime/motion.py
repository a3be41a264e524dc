"""Motion: how far each of the 16 x 16 cells of a frame moved since the last frame.

One step of Lucas and Kanade ("An iterative image registration technique", 1981) per cell, on luma averaged to a fixed
64 x 64 grid: a change of R between two frames does no harm, and the cost is small. Sums are exact integers below 2^53.
The one root and the one division are float64 in the order written here, and IEEE 754 fixes both (its square root is
correctly rounded), so every language gets the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import MEMORY_GRID, TOKENS_PER_FRAME
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.frames import area_sums, luma

LUMA_GRID = 64
"""Samples per side of the luma grid: 4 per cell, so one sample is a quarter of a cell."""
SAMPLES_PER_CELL = LUMA_GRID // MEMORY_GRID
GRADIENT_SCALE = 4
"""`gradient` below is this many times the slope per sample: a central difference spans 2 samples of 2 frames."""
RIDGE = SAMPLES_PER_CELL * SAMPLES_PER_CELL * GRADIENT_SCALE * GRADIENT_SCALE
"""Added to both diagonal sums. A cell whose slope is 1 grey level a sample (root mean square) is damped to one half,
so noise in flat cells does not read as motion."""


def luma_grid(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma averaged to 64 x 64: uint8 (64, 64), (sum + n / 2) // n with exact area sums, n the pixels of the frame.

    frame: uint8 (R, R, 3), the frame as the image encoder sees it.
    """
    plane = luma(frame)
    count = plane.shape[0] * plane.shape[1]
    averages: NDArray[np.int64] = (area_sums(plane, LUMA_GRID, LUMA_GRID) + count // 2) // count
    return averages.astype(np.uint8)


def cell_motion(previous: NDArray[np.uint8] | None, current: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Displacement of each cell as a share of the cell's side: float32 (256,), row by row, 0..1.

    previous, current: uint8 (64, 64) from `luma_grid`; previous is None at the first frame, which gives zeros.
    With the slopes gx, gy of both frames' sum (the border sample repeats) and the change d = current - previous, the
    sums over a cell a = sum gx gx + ridge, b = sum gx gy, c = sum gy gy + ridge, p = sum gx d, q = sum gy d give
    u = p c - q b, v = q a - p b and the share sqrt(u u + v v) / (a c - b b), at most 1. Slopes are 4 times too
    large and a cell has 4 samples, so no factor is left.
    """
    _check_grid(current)
    if previous is None:
        return np.zeros(TOKENS_PER_FRAME, np.float32)
    _check_grid(previous)
    both = np.pad(previous.astype(np.int64) + current, 1, mode="edge")
    change = current.astype(np.int64) - previous
    gradient_x = both[1:-1, 2:] - both[1:-1, :-2]
    gradient_y = both[2:, 1:-1] - both[:-2, 1:-1]
    a = _cell_sums(gradient_x * gradient_x) + RIDGE
    b = _cell_sums(gradient_x * gradient_y)
    c = _cell_sums(gradient_y * gradient_y) + RIDGE
    p = _cell_sums(gradient_x * change)
    q = _cell_sums(gradient_y * change)
    u = (p * c - q * b).astype(np.float64)
    v = (q * a - p * b).astype(np.float64)
    determinant = (a * c - b * b).astype(np.float64)
    share = np.sqrt(u * u + v * v) / determinant
    return np.minimum(share, 1.0).astype(np.float32).reshape(TOKENS_PER_FRAME)


def _cell_sums(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over the 4 x 4 samples of each cell: int64 (16, 16); integers, so their order does not matter."""
    by_cell = samples.reshape(MEMORY_GRID, SAMPLES_PER_CELL, MEMORY_GRID, SAMPLES_PER_CELL)
    sums: NDArray[np.int64] = by_cell.sum(axis=(1, 3))
    return sums


def _check_grid(grid: NDArray[np.uint8]) -> None:
    if grid.shape != (LUMA_GRID, LUMA_GRID) or grid.dtype != np.uint8:
        raise ContractError(
            explain(
                "luma grid",
                expected=f"({LUMA_GRID}, {LUMA_GRID}) uint8",
                got=f"{grid.shape} {grid.dtype}",
                do="make it with luma_grid",
            )
        )
