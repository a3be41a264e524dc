"""Fine crop: the part of a frame that a virtual camera looks at, so that a tiny object gets finer patches.

Whole pixels and whole numbers throughout. A crop has the frame's own shape at 1/2 of its sides, so an object of 10 px
in an input of 256 px is 20 px there. Two rules keep the camera still: an object has to grow by half before a crop that
was entered is left, and a crop stays where it is until the object comes near its edge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain

WHOLE = 1
"""Divisor of the frame's sides that stands for all of it."""
DIVISORS = (2,)
"""Divisors of the frame's sides that give the crops, the finest first. A second one of 1/4 was tried and left out: on
footage of 512 x 288 it is drawn larger than it is, and won nothing (docs/failures.md)."""
ENTER = 3
"""A crop is entered if the object takes at most 1/3 of its sides. For the crop of 1/2 that is 1/6 of the frame, 42 px
at an input of 256 px. The methodology's section 8 calls an object under 32 px tiny; its longer side is longer than that
of the square of its area, which sizes are stated by. 1/4 was tried (docs/failures.md)."""
STAY = 2
"""A crop is left if the object takes more than 1/2 of one of its sides."""
MARGIN_DIVISOR = 8
"""A crop moves if the object is nearer to its edge than 1/8 of the crop's side (and the frame goes on there)."""


@dataclass(frozen=True)
class PixelBox:
    """Whole pixels of a frame: rows top to bottom - 1, columns left to right - 1. Raises ContractError if empty."""

    top: int
    left: int
    bottom: int
    right: int

    def __post_init__(self) -> None:
        if self.bottom <= self.top or self.right <= self.left:
            raise ContractError(
                explain("pixel box", expected="bottom > top, right > left", got=self, do="give a box with pixels")
            )

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index a frame with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def contains(self, other: PixelBox) -> bool:
        """Whether every pixel of the other box is one of this box."""
        rows = self.top <= other.top and other.bottom <= self.bottom
        return rows and self.left <= other.left and other.right <= self.right

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_] | NDArray[np.uint8]) -> PixelBox | None:
        """The tight box of a mask (height, width), None if it is empty."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return None
        return cls(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @classmethod
    def around(cls, boxes: Iterable[PixelBox]) -> PixelBox | None:
        """The smallest box that contains all of these, None if there is none."""
        each = tuple(boxes)
        if not each:
            return None
        return cls(
            min(box.top for box in each),
            min(box.left for box in each),
            max(box.bottom for box in each),
            max(box.right for box in each),
        )


def whole(height: int, width: int) -> PixelBox:
    """All of a frame."""
    return PixelBox(0, 0, height, width)


def fitting_divisor(extent: PixelBox, height: int, width: int, *, current: int = WHOLE) -> int:
    """The divisor of the finest crop of a frame (height, width) that suits an object of this extent; 1 if none does.

    current: the divisor of the crop that is looked at now, which is kept until the object is half as large again.
    """
    for divisor in DIVISORS:
        times = divisor * (STAY if current >= divisor else ENTER)
        if extent.height * times <= height and extent.width * times <= width:
            return divisor
    return WHOLE


def placed_crop(extent: PixelBox, height: int, width: int, *, divisor: int, current: PixelBox) -> PixelBox:
    """The crop of 1 / divisor of the sides of a frame (height, width), rounded up, for an object of this extent.

    `current` itself, if it has that size and the object with its margin, as far as the frame reaches, lies in it; else
    the crop whose middle is the object's, moved into the frame.
    """
    rows, columns = -(-height // divisor), -(-width // divisor)
    if (current.height, current.width) == (rows, columns):
        down, across = rows // MARGIN_DIVISOR, columns // MARGIN_DIVISOR
        wanted = PixelBox(
            max(extent.top - down, 0),
            max(extent.left - across, 0),
            min(extent.bottom + down, height),
            min(extent.right + across, width),
        )
        if current.contains(wanted):
            return current
    top = min(max((extent.top + extent.bottom - rows) // 2, 0), height - rows)
    left = min(max((extent.left + extent.right - columns) // 2, 0), width - columns)
    return PixelBox(top, left, top + rows, left + columns)
