"""Constant arrays that the graphs hold: position codes, pooling and placing matrices. NumPy, float32.

Positions are always cell centres as shares of the frame (0..1), so that a place means the same at every input size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile import contract

Array = NDArray[np.float32]

POSITION_CHANNELS = 32
"""Channels of a memory key that carry its place; the other 224 carry its content."""
POSITION_SIGMA = 0.12
"""Width of the Gaussian kernel that two position codes form, as a share of the frame: that of a measured prototype."""


def cell_centres(cells: int) -> Array:
    """Centres of `cells` equal cells in 0..1."""
    return ((np.arange(cells) + 0.5) / cells).astype(np.float32)


def sine_code(cells: int, channels: int) -> Array:
    """Sine codes of a `cells` x `cells` grid, (cells^2, channels), row by row: half for y, half for x.

    Frequencies run geometrically from half a period to 16 periods over the frame (the highest a 16-cell grid resolves
    is 8), after "Attention Is All You Need" section 3.5 with positions as shares of the frame.
    """
    pairs = channels // 4
    frequencies = 0.5 * 2 ** (np.arange(pairs) * (5 / max(pairs - 1, 1)))
    angles = 2 * math.pi * cell_centres(cells)[:, None] * frequencies  # (cells, pairs)
    axis = np.concatenate([np.sin(angles), np.cos(angles)], 1)  # (cells, 2 pairs)
    y = np.repeat(axis, cells, 0)
    x = np.tile(axis, (cells, 1))
    return np.concatenate([y, x], 1).astype(np.float32)


def gaussian_code(cells: int) -> Array:
    """Unit position codes of a grid, (cells^2, 32), whose dot product is close to exp(-d^2 / (2 sigma^2)).

    Random Fourier features (Rahimi and Recht 2007, section 3.1) with quasi-random instead of random frequencies: 16
    directions of a golden-angle spiral at the radii that quantiles of the Rayleigh distribution give.
    """
    count = POSITION_CHANNELS // 2
    quantiles = (np.arange(count) + 0.5) / count
    radius = np.sqrt(-2 * np.log(1 - quantiles)) / POSITION_SIGMA
    angle = np.arange(count) * math.pi * (3 - math.sqrt(5))
    centres = cell_centres(cells).astype(np.float64)
    y, x = np.repeat(centres, cells), np.tile(centres, cells)
    phase = y[:, None] * (radius * np.sin(angle)) + x[:, None] * (radius * np.cos(angle))
    return (np.concatenate([np.sin(phase), np.cos(phase)], 1) / math.sqrt(count)).astype(np.float32)


def area_matrix(outputs: int, inputs: int) -> Array:
    """Matrix (outputs, inputs) of area averaging: each row holds the share of its cell that an input cell covers."""
    edges_out = np.arange(outputs + 1) / outputs
    edges_in = np.arange(inputs + 1) / inputs
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    shares: Array = (np.clip(high - low, 0, None) * outputs).astype(np.float32)
    return shares


def repeat_matrix(cells: int, factor: int) -> Array:
    """Matrix (cells * factor, cells) that repeats each cell `factor` times: nearest-neighbour upsampling."""
    rows: Array = np.repeat(np.eye(cells, dtype=np.float32), factor, 0)
    return rows


def pattern_place(cells: int) -> Array:
    """One-hot (1, 16, 4 cells, 4 cells): which of a value's 4 x 4 mask pattern a stride-4 pixel reads.

    The place is taken inside the 16 x 16 *memory* cell that covers the pixel, so that a cell that reads itself gets
    its own mask back at every input size.
    """
    n = cells * (contract.STRIDE // contract.MASK_STRIDE)
    pattern = contract.CELL_PATTERN
    index = (cell_centres(n).astype(np.float64) * contract.MEMORY_GRID * pattern).astype(int) % pattern
    flat = index[:, None] * pattern + index[None, :]
    one_hot: Array = (flat[None] == np.arange(pattern * pattern)[:, None, None]).astype(np.float32)[None]
    return one_hot


def space_to_cell_kernel() -> Array:
    """Kernel (16, 1, 4, 4) of a stride-4 convolution that moves each pixel of a 4 x 4 cell to a channel of its own."""
    pattern = contract.CELL_PATTERN
    kernel: Array = np.eye(pattern * pattern, dtype=np.float32).reshape(-1, 1, pattern, pattern)
    return kernel


def isometry(rows: int, columns: int, *, seed: int) -> Array:
    """Random matrix (rows, columns) with orthonormal columns (or rows, where there are fewer): keeps cosines."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    chosen: Array = (q if rows >= columns else q.T).astype(np.float32)
    return chosen
