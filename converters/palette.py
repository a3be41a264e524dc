"""Palettes: a weight as places in a table of 2^bits values, as `constexpr_lut_to_dense` of Core ML stores it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 300
"""Rounds at most; trained layers settle after 30 to 150."""


def palette(values: NDArray[np.float16], *, bits: int) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """A table of 2^bits values close to `values`, by squared error, and the place of each one's nearest.

    Lloyd's k-means in one dimension (Lloyd 1982, method I), from the quantiles of the values on: each round puts an
    entry at the mean of the values nearest to it. No randomness. Returns float16 (2^bits,), ascending, and uint8 of the
    shape of `values`. Where there are no more distinct values than entries, the table holds just these, exactly.
    """
    distinct, where, counts = np.unique(values.astype(np.float64), return_inverse=True, return_counts=True)
    size = 1 << bits
    if len(distinct) <= size:
        table = np.pad(distinct, (0, size - len(distinct)), mode="edge")
    else:
        ends, sums = np.cumsum(counts), np.cumsum(distinct * counts)
        wanted = (np.arange(size) + 0.5) / size * ends[-1]
        table = distinct[np.searchsorted(ends, wanted)]
        for _ in range(ROUNDS):
            last = np.searchsorted(distinct, (table[1:] + table[:-1]) / 2)  # distinct values before an entry's end
            edges = np.concatenate([[0], last, [len(distinct)]])
            number = np.diff(np.concatenate([[0], ends])[edges])
            total = np.diff(np.concatenate([[0.0], sums])[edges])
            moved = np.sort(np.where(number > 0, total / np.maximum(number, 1), table))
            if np.array_equal(moved, table):
                break
            table = moved
    stored = table.astype(np.float16)
    middles = (stored[1:].astype(np.float64) + stored[:-1].astype(np.float64)) / 2
    places = np.searchsorted(middles, distinct).astype(np.uint8)
    return stored, places[where].reshape(values.shape)
