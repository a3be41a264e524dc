"""Prompts made from annotations: the mask itself, its tight box, or one click at its most interior pixel."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.runtime.prompts import Box, Point, Prompt


class PromptKind(StrEnum):
    """How an object is pointed out in its first frame."""

    MASK = "mask"
    BOX = "box"
    CLICK = "click"


def prompt_from_mask(mask: NDArray[np.bool_], kind: PromptKind) -> Prompt:
    """A prompt for the object in `mask`, bool (height, width). Raises ContractError if the mask is empty."""
    if not mask.any():
        raise ContractError(explain("prompt mask", expected="a visible object", got="no pixel", do="prompt it later"))
    if kind is PromptKind.MASK:
        return Prompt.from_mask(mask)
    if kind is PromptKind.BOX:
        return Prompt.from_box(tight_box(mask))
    return Prompt.from_points([interior_point(mask)])


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around a mask; pixel edges, so a single pixel at (x, y) gives x, y, x + 1, y + 1."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def interior_point(mask: NDArray[np.bool_]) -> Point:
    """The centre of the pixel farthest from the background, which is where a person would click.

    Outside the image counts as background; of equal pixels the first in reading order is taken.
    """
    cv2 = import_media_library("cv2", purpose="placing a click")
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(distance)), mask.shape)
    return Point(float(column) + 0.5, float(row) + 0.5)
