"""Decodes the compressed run-length masks of COCO and SA-V, within bounds: the text comes from outside."""

from __future__ import annotations

import numpy as np

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.training.clip_settings import Bytes

_FIRST_CODE = 48
_DIGIT_BITS = 5
_MAX_DIGITS = 6
"""Digits of a number: 30 bits, more than the pixels of any image that is accepted."""


def run_lengths(counts: str, *, pixels: int) -> list[int]:
    """Lengths of the runs of 0, 1, 0, ... that make up a mask of `pixels` pixels in column order.

    Each number is written in digits of 5 bits, the lowest first, as characters from "0" on: 16 in the last digit is
    the sign, 32 says that more digits follow. From the fourth number on, the difference to the number two before is
    written (pycocotools, common/maskApi.c, rleFrString). Raises DataError for another character, a number that is too
    long or negative, or a sum that is not `pixels`.
    """
    runs: list[int] = []
    total, value, digits = 0, 0, 0
    for code in map(ord, counts):
        digit = code - _FIRST_CODE
        if not 0 <= digit < 64 or digits == _MAX_DIGITS:
            raise _broken(f"{chr(code)!r} after {len(runs)} numbers")
        value |= (digit & 31) << (_DIGIT_BITS * digits)
        digits += 1
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << (_DIGIT_BITS * digits)
        if len(runs) > 2:
            value += runs[-2]
        total += value
        if value < 0 or total > pixels:
            raise _broken(f"a run of {value}, {total} pixels in all, in a mask of {pixels}")
        runs.append(value)
        value, digits = 0, 0
    if digits or total != pixels:
        raise _broken(f"{total} pixels in a mask of {pixels}")
    return runs


def decode_mask(counts: str, *, height: int, width: int) -> Bytes:
    """Mask (height, width) uint8 0 / 1 of a run-length text. Raises DataError as `run_lengths` does."""
    runs = run_lengths(counts, pixels=height * width)
    values = (np.arange(len(runs)) & 1).astype(np.uint8)
    return np.repeat(values, runs).reshape(width, height).T


def _broken(got: str) -> DataError:
    return DataError(
        explain("run-length mask", expected="runs that fill the mask", got=got, do="download the annotation again")
    )
