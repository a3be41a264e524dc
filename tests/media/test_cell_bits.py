"""Cells of the memory grid as text and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.media.cell_bits import cell_bits, cells_of, memory_cell_bits


def test_a_row_of_the_grid_has_four_digits_and_the_left_cell_comes_first() -> None:
    assert cell_bits(np.array([0])) == "8000" + "0" * 60
    assert cell_bits(np.array([15, 16, 18])) == "0001" + "a000" + "0" * 56
    assert cell_bits(np.array([255])) == "0" * 63 + "1"
    assert cell_bits(np.array([], np.int64)) == "0" * 64


@given(st.sets(st.integers(0, 255)))
def test_cells_come_back(cells: set[int]) -> None:
    assert cells_of(cell_bits(np.array(sorted(cells, reverse=True), np.int64))).tolist() == sorted(cells)


@pytest.mark.parametrize("text", ["", "8000", "z" * 64, "0" * 66])
def test_text_that_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cells|hexadecimal"):
        cells_of(text)


def test_frames_of_a_memory_are_in_order() -> None:
    held = {7: np.array([1]), 2: np.array([0])}
    assert list(memory_cell_bits(held)) == [2, 7]
