"""Masks: from mask logits on the stride-4 grid to a mask, or a label map, of the frame.

Two-tap bilinear interpolation in float32 with pixel centres at half integers, first along x, then along y, each as
`first * (1 - w) + second * w`: two products and one sum, rounded one by one (no fused multiply-add).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.frames import MAX_FRAME_SIDE

MASK_LOGIT = 0.0
"""A pixel belongs to the object where its logit is above this."""
MAX_OBJECT_ID = 255
"""Object ids are 1 to 255: a label map holds them in a byte, and 0 is the background."""


@dataclass(frozen=True)
class _Taps:
    """Two taps a pixel along one axis: index and float32 weight of each, shape (length,)."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    first_weight: NDArray[np.float32]
    second_weight: NDArray[np.float32]


@lru_cache(maxsize=64)
def _taps(samples: int, length: int) -> _Taps:
    """Taps that take `samples` logits to `length` pixels.

    With t = (2 o + 1) * samples - length clamped to 0 .. 2 * length * (samples - 1), pixel o reads samples
    t // (2 length) and the next (at most the last); the second weighs r / (2 length), r = t % (2 length), and the
    first (2 length - r) / (2 length). Whole numbers below 2^24, so each weight is one float32 division.
    """
    unit = 2 * length
    position = np.clip((2 * np.arange(length, dtype=np.int64) + 1) * samples - length, 0, unit * (samples - 1))
    first, rest = position // unit, position % unit
    taps = _Taps(
        first.astype(np.intp),
        np.minimum(first + 1, samples - 1).astype(np.intp),
        (unit - rest).astype(np.float32) / np.float32(unit),
        rest.astype(np.float32) / np.float32(unit),
    )
    for array in (taps.first, taps.second, taps.first_weight, taps.second_weight):
        array.setflags(write=False)
    return taps


def logits_at_frame(mask_logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Mask logits at every pixel of the frame: float32 (height, width), from float32 [1, 1, m, m].

    Raises ContractError for another shape or dtype, non-finite logits, or a frame over 8192 pixels a side.
    """
    _check(mask_logits, height, width)
    return _upsampled(mask_logits[0, 0], height, width, slice(0, height), slice(0, width))


def frame_mask(mask_logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """The object's mask on the frame: bool (height, width), where the interpolated logit is above 0.

    mask_logits: float32 [1, 1, m, m]. Equal to `logits_at_frame(...) > 0` to the bit. Raises as that does.
    """
    _check(mask_logits, height, width)
    logits = mask_logits[0, 0]
    mask = np.zeros((height, width), np.bool_)
    above = logits > MASK_LOGIT
    # A mix of logits that are all <= 0 is <= 0: only pixels with a tap inside the object's extent need a value.
    rows = _reach(above.any(axis=1), _taps(logits.shape[0], height))
    columns = _reach(above.any(axis=0), _taps(logits.shape[1], width))
    if rows is not None and columns is not None:
        np.greater(_upsampled(logits, height, width, rows, columns), MASK_LOGIT, out=mask[rows, columns])
    return mask


def label_map(mask_logits: Mapping[int, NDArray[np.float32]], height: int, width: int) -> NDArray[np.uint8]:
    """The object id at every pixel, 0 for background: uint8 (height, width).

    mask_logits: float32 [1, 1, m, m] by object id (1 to 255). Objects compete: the highest interpolated logit above 0
    wins, and of equal ones the lower id. Raises ContractError for an id out of range, and as `logits_at_frame` does.
    """
    labels = np.zeros((height, width), np.uint8)
    best = np.full((height, width), MASK_LOGIT, np.float32)
    for object_id in sorted(mask_logits):
        check_object_id(object_id)
        logits = logits_at_frame(mask_logits[object_id], height, width)
        wins = logits > best
        labels[wins] = object_id
        np.maximum(best, logits, out=best)
    return labels


def check_object_id(object_id: object) -> None:
    """Raise ContractError unless `object_id` is a whole number from 1 to 255."""
    if not isinstance(object_id, int) or isinstance(object_id, bool) or not 1 <= object_id <= MAX_OBJECT_ID:
        raise ContractError(
            explain("object id", expected=f"1 to {MAX_OBJECT_ID}", got=repr(object_id), do="number the objects from 1")
        )


def _upsampled(
    logits: NDArray[np.float32], height: int, width: int, rows: slice, columns: slice
) -> NDArray[np.float32]:
    """The part `rows`, `columns` of the logits (m, m) interpolated to (height, width)."""
    across, down = _taps(logits.shape[1], width), _taps(logits.shape[0], height)
    by_column = np.ascontiguousarray(logits.T)  # rows of memory are what NumPy gathers fast
    wide = _mixed(by_column, across, columns)  # (columns, m)
    return _mixed(np.ascontiguousarray(wide.T), down, rows)  # (rows, columns)


def _mixed(samples: NDArray[np.float32], taps: _Taps, part: slice) -> NDArray[np.float32]:
    """first * first_weight + second * second_weight along the first axis, for the pixels `part`."""
    mixed = np.take(samples, taps.first[part], axis=0)
    mixed *= taps.first_weight[part, np.newaxis]
    second = np.take(samples, taps.second[part], axis=0)
    second *= taps.second_weight[part, np.newaxis]
    mixed += second
    return mixed


def _reach(occupied: NDArray[np.bool_], taps: _Taps) -> slice | None:
    """Pixels from the first to the last one that has a tap in an occupied row or column; None if there is none."""
    pixels = np.flatnonzero(occupied[taps.first] | occupied[taps.second])
    return slice(int(pixels[0]), int(pixels[-1]) + 1) if pixels.size else None


def _check(mask_logits: NDArray[np.float32], height: int, width: int) -> None:
    shape = mask_logits.shape
    if len(shape) != 4 or shape[:2] != (1, 1) or min(shape) < 1 or mask_logits.dtype != np.float32:
        raise ContractError(
            explain(
                "mask logits",
                expected="[1, 1, rows, columns] float32",
                got=f"{list(shape)} {mask_logits.dtype}",
                do="pass the mask decoder's output as it is",
            )
        )
    if not (1 <= height <= MAX_FRAME_SIDE and 1 <= width <= MAX_FRAME_SIDE):
        raise ContractError(
            explain(
                "frame", expected=f"1 to {MAX_FRAME_SIDE} pixels a side", got=f"{width} x {height}", do="scale it down"
            )
        )
    if not np.isfinite(mask_logits).all():
        raise ContractError(explain("mask logits", expected="finite values", got="NaN or infinity", do="drop them"))
