"""What large tables of a graph are made of: each size has tables of its own, and their rows and columns are few."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def placing_factors(values: Floats) -> tuple[Floats, Floats] | None:
    """Rows (1, n, h, 1) and columns (1, n, 1, w) of 0 and 1 whose product is a table (1, n, h, w), or None."""
    if values.ndim != 4 or not np.isin(values, (0, 1)).all():
        return None
    rows, columns = values.max(3, keepdims=True), values.max(2, keepdims=True)
    return (rows, columns) if np.array_equal(rows * columns, values) else None


def position_terms(values: Floats) -> tuple[Floats, Floats] | None:
    """Rows (g, 1, c) and columns (1, g, c) whose sum is a table (g * g, c), each 0 where the other is not; or None."""
    side = math.isqrt(values.shape[0]) if values.ndim == 2 else 0
    if side < 2 or side * side != values.shape[0]:
        return None
    grid = values.reshape(side, side, -1)
    of_row = (grid == grid[:, :1]).all((0, 1))  # channels that are equal along each row
    rows = np.where(of_row, grid[:, :1], np.float32(0))
    columns = np.where(of_row, np.float32(0), grid[:1])
    return (rows, columns) if np.array_equal(rows + columns, grid) else None
