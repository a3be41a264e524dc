"""Run-length masks: the example worked by hand, and texts that would fill more, or less, than the mask."""

import numpy as np
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.training.rle import decode_mask, run_lengths

# Runs 2, 3, 4, 1, 2. The fourth and fifth are written as differences to the second and third: 1 - 3 = 2 - 4 = -2,
# in five bits 11110 = 30, and the character 48 + 30 is "N".
EXAMPLE = "234NN"


def test_example_is_decoded_by_columns() -> None:
    expected = [
        [0, 1, 0, 1],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
    ]
    mask = decode_mask(EXAMPLE, height=3, width=4)
    assert mask.dtype == np.uint8
    assert mask.tolist() == expected


def test_numbers_of_several_digits_are_put_together_from_the_lowest_on() -> None:
    assert run_lengths("T3", pixels=100) == [100]  # 100 = 4 + 3 * 32; the first digit has 32 added: more follow
    assert run_lengths("`0", pixels=16) == [16]  # 16 alone would be a sign
    assert run_lengths("0<", pixels=12) == [0, 12]  # a mask that begins with its object


def test_mask_without_object_is_empty() -> None:
    assert not decode_mask("<", height=3, width=4).any()


@pytest.mark.parametrize("pixels", [11, 13])
def test_runs_that_do_not_fill_the_mask_are_refused(pixels: int) -> None:
    with pytest.raises(DataError, match="runs that fill the mask"):
        run_lengths(EXAMPLE, pixels=pixels)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ("23 NN", "' ' after 2 numbers"),
        ("23é", "'é' after 2 numbers"),
        ("N", "a run of -2"),
        ("2T", "2 pixels in a mask"),
        ("TTTTTTT3", "'T' after 0 numbers"),
        ("", "0 pixels in a mask"),
    ],
)
def test_text_that_is_no_run_length_mask_is_refused(counts: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        run_lengths(counts, pixels=12)


def test_huge_run_is_refused_before_it_is_unrolled() -> None:
    with pytest.raises(DataError, match="in a mask of 12"):
        decode_mask("oooooO", height=3, width=4)  # 29 bits of ones
