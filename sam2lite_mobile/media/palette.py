"""Colours: the palette of DAVIS mask files, and the brighter one that overlays are drawn with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def davis_palette() -> NDArray[np.uint8]:
    """The palette of DAVIS and PASCAL VOC masks: uint8 (256 ids, RGB), id 0 black, 1 dark red, 2 dark green, ...

    Bits 0, 1, 2 of the id go to red, green, blue from the highest bit down, then bits 3, 4, 5, and so on
    (VOC development kit, VOClabelcolormap).
    """
    ids = np.arange(256, dtype=np.uint8)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = 3 * level + channel
            if bit < 8:
                palette[:, channel] |= ((ids >> bit) & 1) << (7 - level)
    return palette


OVERLAY_COLOURS = np.array(
    [
        (255, 64, 64),
        (64, 160, 255),
        (72, 214, 110),
        (255, 196, 48),
        (196, 104, 255),
        (48, 220, 220),
        (255, 136, 48),
        (255, 112, 188),
        (168, 224, 56),
        (136, 136, 255),
    ],
    dtype=np.uint8,
)
"""RGB. The DAVIS colours are too dark on a picture; these stay apart from each other and from most backgrounds."""


def overlay_colour(object_id: int) -> tuple[int, int, int]:
    """RGB colour that an object is drawn with; ids beyond the list start over."""
    red, green, blue = OVERLAY_COLOURS[(object_id - 1) % len(OVERLAY_COLOURS)]
    return int(red), int(green), int(blue)
