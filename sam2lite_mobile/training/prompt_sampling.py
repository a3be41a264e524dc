"""Prompts for training, drawn from masks as a user would give them: a loose box, or a few taps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile import contract

BOX_JITTER = 0.08
"""Each side of a box moves by up to this share of the box's width or height."""


def sample_prompt(mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """points (P, 2) in 0..1 and labels (P,) for a mask (R, R), foreground > 127: a box, taps, or both.

    An empty mask gives no prompt (all labels -1). Taps lie inside the mask, the first where it is thick; a background
    tap lies anywhere outside.
    """
    points = np.zeros((contract.PROMPT_SLOTS, 2), np.float32)
    labels = np.full(contract.PROMPT_SLOTS, contract.LABEL_EMPTY, np.float32)
    inside = mask > 127
    if not inside.any():
        return points, labels
    size = mask.shape[0]
    slot = 0
    kind = rng.random()
    if kind < 0.6:
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        low = np.array([columns[0], rows[0]], np.float64)
        high = np.array([columns[-1] + 1, rows[-1] + 1], np.float64)
        extent = high - low
        low = low + rng.uniform(-BOX_JITTER, BOX_JITTER, 2) * extent
        high = high + rng.uniform(-BOX_JITTER, BOX_JITTER, 2) * extent
        points[:2] = np.clip(np.stack([low, high]) / size, 0, 1)
        labels[:2] = contract.LABEL_BOX_TOP_LEFT, contract.LABEL_BOX_BOTTOM_RIGHT
        slot = 2
    if kind > 0.5:
        for i in range(int(rng.integers(1, 4))):
            points[slot] = (_tap(inside, rng, thick=i == 0) + 0.5) / size
            labels[slot] = contract.LABEL_FOREGROUND
            slot += 1
        if rng.random() < 0.25 and not inside.all():
            points[slot] = (_tap(~inside, rng, thick=False) + 0.5) / size
            labels[slot] = contract.LABEL_BACKGROUND
    return points, labels


def _tap(region: NDArray[np.bool_], rng: np.random.Generator, *, thick: bool) -> NDArray[np.float64]:
    """A pixel (x, y) of the region; `thick` prefers the pixel that lies deepest in it out of eight."""
    rows, columns = np.nonzero(region)
    picks = rng.integers(0, len(rows), 8 if thick else 1)
    if not thick:
        return np.array([columns[picks[0]], rows[picks[0]]], np.float64)

    def depth(row: int, column: int) -> float:
        reach = max(2, region.shape[0] // 16)
        window = region[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        return float(window.mean())

    best = max(picks, key=lambda i: depth(int(rows[i]), int(columns[i])))
    return np.array([columns[best], rows[best]], np.float64)
