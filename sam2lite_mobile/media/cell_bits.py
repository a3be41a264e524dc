"""Cells of the 16 x 16 memory grid as text: 64 hexadecimal digits, four a row of the grid, leftmost cell first.

So the cell in row r and column c is bit 3 - c % 4 of digit 4 r + c // 4: "8000" is a row with its left cell alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sam2lite_mobile.contract import TOKENS_PER_FRAME

DIGITS = TOKENS_PER_FRAME // 4
CellBits = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{DIGITS}}}$")]


def cell_bits(cells: NDArray[np.int64]) -> str:
    """The text of a set of cells. cells: indices 0..255, row by row; order and repetition do not matter."""
    held = np.zeros(TOKENS_PER_FRAME, np.bool_)
    held[cells] = True
    return np.packbits(held).tobytes().hex()


def cells_of(bits: str) -> NDArray[np.int64]:
    """Indices of the cells of such a text, ascending. Raises ValueError for a text that is none."""
    data = bytes.fromhex(bits)
    if len(data) * 8 != TOKENS_PER_FRAME:
        raise ValueError(f"cells: expected {DIGITS} digits, got {len(bits)}")
    return np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8))).astype(np.int64)


def memory_cell_bits(cells: Mapping[int, NDArray[np.int64]]) -> dict[int, str]:
    """`MemoryBank.cells_by_frame` as text, oldest frame first."""
    return {frame: cell_bits(cells[frame]) for frame in sorted(cells)}
