"""Continuity: what a decoded mask has far from where the object just was is dropped, and never remembered.

A student as small as ours sees a second camel, or a patch of road, and takes it along; once in memory it stays. What is
followed moves and grows little from one frame to the next, so a mask counts only in the surroundings of the last one.
All of this happens on 64 x 64 cells, a row in the bits of one whole number: the same on a phone.

Whether a part is joined to a near one is not asked: a thin bridge that is there in float32 and not in float16 would
decide about all that is behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.runtime.masks import MASK_LOGIT

CELLS = 64
"""Cells along each side of the frame: one bit of an unsigned 64-bit number each, the leftmost in the lowest bit."""
REACH_DIVISOR = 2
"""Surroundings reach as far as the side of the square of the mask's area, over this."""
REACH_MIN = 2
"""Cells that they reach at least."""

Rows = NDArray[np.uint64]
"""64 rows of cells: uint64 (64,)."""


@dataclass(frozen=True, eq=False)
class LastPlace:
    """Where an object was last seen: the cells of its mask, and the frames since in which it was not in view."""

    cells: Rows
    unseen: int = 0

    @classmethod
    def of(cls, mask_logits: NDArray[np.float32]) -> LastPlace:
        """The place of a mask on this frame: logits [1, 1, m, m], m >= 64."""
        return cls(occupied_cells(mask_logits[0, 0] > MASK_LOGIT))

    @classmethod
    def anywhere(cls, unseen: int) -> LastPlace:
        """The whole frame: nothing is far from it. unseen: frames since in which the object was not in view."""
        return cls(np.full(CELLS, np.iinfo(np.uint64).max, np.uint64), unseen)

    def missed(self) -> LastPlace:
        """The same place after another frame in which the object was not in view."""
        return LastPlace(self.cells, self.unseen + 1)

    def surroundings(self) -> Rows:
        """Cells where the object may be: around the place, farther with each frame out of view."""
        area = int(np.bitwise_count(self.cells).sum())
        reach = max(REACH_MIN, isqrt(area) // REACH_DIVISOR) * (1 + self.unseen)
        around = self.cells
        for _ in range(min(reach, CELLS)):
            around = grown(around)
        return around

    def keep_near(self, mask_logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mask logits [1, 1, m, m] without the cells outside of the surroundings: there, x becomes -|x|. m >= 64.

        Where the mask has nothing in the surroundings all of it stays: the object has jumped. Returns the argument
        itself where nothing was dropped.
        """
        cells = occupied_cells(mask_logits[0, 0] > MASK_LOGIT)
        kept = cells & self.surroundings()
        if not kept.any() or np.array_equal(kept, cells):
            return mask_logits
        dropped = at_pixels(cells & ~kept, mask_logits.shape[-1])
        return np.where(dropped, -np.abs(mask_logits), mask_logits)


def occupied_cells(mask: NDArray[np.bool_]) -> Rows:
    """Cells that hold a pixel of a mask (m, m), m >= 64. Pixel i lies in cell 64 i // m, in x and in y."""
    starts = -(-np.arange(CELLS) * len(mask) // CELLS)
    cells = np.logical_or.reduceat(np.logical_or.reduceat(mask, starts, axis=0), starts, axis=1)
    rows: Rows = np.packbits(cells, axis=1, bitorder="little").view("<u8")[:, 0].astype(np.uint64)
    return rows


def at_pixels(cells: Rows, side: int) -> NDArray[np.bool_]:
    """The mask (side, side) of all pixels in the cells, side >= 64."""
    bits = np.unpackbits(cells.astype("<u8").view(np.uint8).reshape(CELLS, 8), axis=1, bitorder="little")
    cell = np.arange(side) * CELLS // side
    return bits.astype(np.bool_)[cell][:, cell]


def grown(cells: Rows) -> Rows:
    """The cells and their eight neighbours."""
    one = np.uint64(1)
    wide: Rows = cells | (cells << one) | (cells >> one)
    tall: Rows = wide.copy()
    tall[1:] |= wide[:-1]
    tall[:-1] |= wide[1:]
    return tall
