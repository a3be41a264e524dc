"""Frames: the resize to R x R that is part of the contract, the image tensor, luma and area sums.

Everything is integer arithmetic, so plain loops in any language give the same bytes. The resize has four steps, each
of which ends in a byte, rounded to nearest, halves up:

1. rows are averaged in groups of `height // size` (only where that is 2 or more),
2. columns are averaged in groups of `width // size` (only where that is 2 or more),
3. along each row, two-tap bilinear interpolation to `size` columns,
4. along each column, two-tap bilinear interpolation to `size` rows.

Pixels past the last whole group of steps 1 and 2 are not read; steps 3 and 4 know the true length, so the geometry
stays exact. Pixel centres lie at half integers in the frame and in the result, and the border pixel repeats outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain

MAX_FRAME_SIDE = 8192
"""Pixels per side of the largest frame that is taken."""
MAX_BOX = 256
"""Longest group of pixels that one average takes: its sum fits 16 unsigned bits."""
BLOCK_ROWS = 64
"""Rows of the result that are made together, so that intermediates stay in cache. No result depends on it."""
LUMA_RED, LUMA_GREEN, LUMA_BLUE = 77, 150, 29
"""Luma weights in 1/256: ITU-R BT.601 (0.299, 0.587, 0.114), rounded so that they sum to 256."""


@dataclass(frozen=True)
class AxisFilter:
    """How one axis is resized: average groups of `box` pixels, then mix `first` and `second` by `weight` / 256.

    first, second: intp (size,), index of the two taps among the `length // box` averages. weight: uint16 (size,),
    share of `second` in 1/256, 0..255.
    """

    box: int
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    weight: NDArray[np.uint16]

    @cached_property
    def is_identity(self) -> bool:
        """True where the bilinear step changes nothing: every tap is its own pixel with weight 0."""
        return not self.weight.any() and np.array_equal(self.first, np.arange(self.first.size))


@lru_cache(maxsize=64)
def axis_filter(length: int, size: int) -> AxisFilter:
    """Filter that takes an axis of `length` pixels to `size` pixels.

    With box = max(1, length // size), result pixel o reads at position
    `p = floor((2 o + 1) * length * 256 / (2 * size * box)) - 128` in 1/256 of an average, clamped to the first and
    last average: taps p // 256 and p // 256 + 1 (at most the last), weight of the second p % 256.
    """
    box = max(1, length // size)
    averages = length // box
    odd = 2 * np.arange(size, dtype=np.int64) + 1
    position = np.clip(odd * length * 256 // (2 * size * box) - 128, 0, (averages - 1) * 256)
    first = position // 256
    second = np.minimum(first + 1, averages - 1)
    taps = AxisFilter(box, first.astype(np.intp), second.astype(np.intp), (position % 256).astype(np.uint16))
    for array in (taps.first, taps.second, taps.weight):
        array.setflags(write=False)
    return taps


def check_frame(frame: object) -> None:
    """Raise ContractError unless `frame` is uint8 (height, width, 3) with 1 to 8192 pixels a side."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.shape} {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise ContractError(
            explain("frame", expected="(height, width, 3) uint8 RGB", got=got, do="decode the frame to RGB bytes")
        )
    height, width = frame.shape[:2]
    if not (1 <= height <= MAX_FRAME_SIDE and 1 <= width <= MAX_FRAME_SIDE):
        raise ContractError(
            explain(
                "frame",
                expected=f"1 to {MAX_FRAME_SIDE} pixels a side",
                got=f"{width} x {height}",
                do="scale the video down first",
            )
        )


def resize_frame(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The frame stretched to `size` x `size`: uint8 (size, size, 3), RGB.

    frame: uint8 (height, width, 3), RGB, 1 to 8192 pixels a side. The result is laid out plane by plane in memory
    (its transpose (3, size, size) is contiguous), which is what `image_tensor` and `luma` read fastest.
    Raises ContractError for another shape or dtype, or a side more than 256 times `size`.
    """
    check_frame(frame)
    height, width = frame.shape[:2]
    if size < 1 or max(height, width) // size > MAX_BOX:
        raise ContractError(
            explain(
                "resize",
                expected=f"a size of at least 1/{MAX_BOX} of the longer side",
                got=f"{size} for {width} x {height}",
                do="use one of the contract's sizes",
            )
        )
    vertical, horizontal = axis_filter(height, size), axis_filter(width, size)
    pixels = np.ascontiguousarray(frame)
    resized = np.empty((3, size, size), np.uint8)
    for start in range(0, size, BLOCK_ROWS):
        part = slice(start, min(start + BLOCK_ROWS, size))
        top, bottom = int(vertical.first[part][0]), int(vertical.second[part][-1]) + 1
        rows = _average_rows(pixels[top * vertical.box : bottom * vertical.box], vertical.box)
        words = _average_columns(_pixel_words(rows), horizontal.box)
        planes = _mix_columns(words, horizontal)
        resized[:, part] = _mix_rows(planes, vertical, part, top)
    return resized.transpose(1, 2, 0)


def image_tensor(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The image encoder's `image`: float32 [1, 3, R, R], RGB, whole numbers 0..255, from a frame of R x R."""
    check_frame(frame)
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)


def luma(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma: uint8 (height, width), (77 R + 150 G + 29 B) >> 8, from uint8 (height, width, 3)."""
    check_frame(frame)
    weighted = np.multiply(frame[..., 0], LUMA_RED, dtype=np.uint16)
    weighted += np.multiply(frame[..., 1], LUMA_GREEN, dtype=np.uint16)
    weighted += np.multiply(frame[..., 2], LUMA_BLUE, dtype=np.uint16)
    weighted >>= 8
    return weighted.astype(np.uint8)


def area_sums(plane: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.int64]:
    """Sums of a plane over a grid of equal cells, in exact integers: int64 (rows, columns).

    plane: uint8 (height, width). Cell (r, c) covers the rectangle from r * height / rows to (r + 1) * height / rows
    and the same along x. A pixel counts by its covered area in units of 1 / (rows * columns) of a pixel, so the
    weights of a cell sum to height * width and `sums / (height * width)` is the mean over the cell.
    """
    height, width = plane.shape
    index, weight = _coverage(height, rows)
    down = np.zeros((rows, width), np.int32)
    for tap in range(index.shape[0]):  # at most 255 * 8192, which fits 32 bits
        down += plane[index[tap]] * weight[tap][:, np.newaxis]
    index, weight = _coverage(width, columns)
    by_column = np.ascontiguousarray(down.T)
    sums = np.zeros((columns, rows), np.int64)
    for tap in range(index.shape[0]):
        sums += np.multiply(by_column[index[tap]], weight[tap][:, np.newaxis], dtype=np.int64)
    return np.ascontiguousarray(sums.T)


@lru_cache(maxsize=64)
def _coverage(length: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Pixels that each of `cells` equal cells covers along an axis, and by how much.

    Returns index, weight of shape (taps, cells). In units of 1 / cells of a pixel, pixel i spans i * cells to
    (i + 1) * cells and cell o spans o * length to (o + 1) * length; the weight is the length of their overlap.
    """
    start = np.arange(cells, dtype=np.int64) * length
    first = start // cells
    taps = int(((start + length - 1) // cells - first).max()) + 1
    index = first[np.newaxis, :] + np.arange(taps, dtype=np.int64)[:, np.newaxis]
    overlap = np.minimum((index + 1) * cells, start + length) - np.maximum(index * cells, start)
    index, weight = np.minimum(index, length - 1).astype(np.intp), np.maximum(overlap, 0).astype(np.int32)
    index.setflags(write=False)
    weight.setflags(write=False)
    return index, weight


def _average_rows(pixels: NDArray[np.uint8], box: int) -> NDArray[np.uint8]:
    """Step 1: (sum of `box` rows + box // 2) // box."""
    if box == 1:
        return pixels
    rows = pixels.shape[0] // box
    last = rows * box
    total = np.add(pixels[0:last:box], pixels[1:last:box], dtype=np.uint16)
    for row in range(2, box):
        total += pixels[row:last:box]
    return _divided(total, box)


def _pixel_words(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Each pixel as one 32-bit word whose bytes are R, G, B and one that means nothing: uint32 (height, width).

    Words are what NumPy gathers fast. The four bytes are read from the pixel's own address on, so the last pixel,
    whose fourth byte would lie past the frame, is written by itself.
    """
    height, width = pixels.shape[:2]
    count = height * width
    words = np.empty(count, np.uint32)
    words[:-1] = np.ndarray((count - 1,), np.uint32, buffer=pixels.data, strides=(3,))
    words[-1:].view(np.uint8)[:3] = pixels[-1, -1]
    words[-1:].view(np.uint8)[3] = 0
    return words.reshape(height, width)


def _average_columns(words: NDArray[np.uint32], box: int) -> NDArray[np.uint32]:
    """Step 2, on words: (sum of `box` columns + box // 2) // box in each byte."""
    if box == 1:
        return words
    columns = words.shape[1] // box
    last = columns * box
    total = np.ascontiguousarray(words[:, 0:last:box]).view(np.uint8).astype(np.uint16)
    for column in range(1, box):
        total += np.ascontiguousarray(words[:, column:last:box]).view(np.uint8)
    return _divided(total, box).view(np.uint32)


def _divided(total: NDArray[np.uint16], box: int) -> NDArray[np.uint8]:
    """Sums of `box` bytes to their averages, halves up; overwrites `total`."""
    total += box // 2
    total //= box
    return total.astype(np.uint8)


def _mix_columns(words: NDArray[np.uint32], taps: AxisFilter) -> NDArray[np.uint8]:
    """Step 3: words (rows, averages) to planes uint8 (3, rows, size)."""
    rows, size = words.shape[0], taps.first.size
    mixed: NDArray[np.uint8] | NDArray[np.uint16]
    if taps.is_identity:
        mixed = words.view(np.uint8)
    else:
        first = np.take(words, taps.first, axis=1).view(np.uint8)
        second = np.take(words, taps.second, axis=1).view(np.uint8)
        mixed = _mixed(first, second, np.repeat(taps.weight, 4))
    bytes_of_pixel = mixed.reshape(rows, size, 4)
    planes = np.empty((3, rows, size), np.uint8)
    for channel in range(3):
        planes[channel] = bytes_of_pixel[..., channel]
    return planes


def _mix_rows(planes: NDArray[np.uint8], taps: AxisFilter, part: slice, top: int) -> NDArray[np.uint8 | np.uint16]:
    """Step 4: the rows `part` of the result, from planes (3, rows, size) whose first row is average number `top`."""
    first = np.take(planes, taps.first[part] - top, axis=1)
    if taps.is_identity:
        return first
    second = np.take(planes, taps.second[part] - top, axis=1)
    return _mixed(first, second, taps.weight[part, np.newaxis])


def _mixed(first: NDArray[np.uint8], second: NDArray[np.uint8], weight: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(first * (256 - weight) + second * weight + 128) >> 8; at most 255 * 256 + 128, which fits 16 bits."""
    total = first.astype(np.uint16)
    total *= 256 - weight
    share = second.astype(np.uint16)
    share *= weight
    total += share
    total += 128
    total >>= 8
    return total
