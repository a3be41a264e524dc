"""Prompts: a box, points or a mask on one frame, and the tensors that they become.

Coordinates are pixels of the frame and continuous: column c spans c to c + 1, so the centre of the first pixel is
(0.5, 0.5) and the right edge of the frame is x = width. A box that covers columns 10 to 19 is x0 = 10, x1 = 20.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import (
    LABEL_BACKGROUND,
    LABEL_BOX_BOTTOM_RIGHT,
    LABEL_BOX_TOP_LEFT,
    LABEL_EMPTY,
    LABEL_FOREGROUND,
    MASK_PROMPT_LOGIT,
    MASK_STRIDE,
    PROMPT_SLOTS,
)
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.frames import area_sums

BOX_SLOTS = 2
"""Prompt slots that a box takes: its top-left and its bottom-right corner."""


@dataclass(frozen=True)
class Point:
    """A click: pixel coordinates of the frame; label 1 is on the object, 0 is on the background."""

    x: float
    y: float
    label: int = LABEL_FOREGROUND

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x) and math.isfinite(self.y)):
            raise _error("point", "finite coordinates", f"({self.x}, {self.y})", "give pixels of the frame")
        if self.label not in (LABEL_BACKGROUND, LABEL_FOREGROUND):
            raise _error("point label", "0 (background) or 1 (object)", self.label, "use a Box for a box")


@dataclass(frozen=True)
class Box:
    """A box around the object: left, top, right and bottom edge in pixel coordinates of the frame."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        corners = (self.x0, self.y0, self.x1, self.y1)
        if not all(math.isfinite(value) for value in corners) or self.x1 <= self.x0 or self.y1 <= self.y0:
            raise _error("box", "x1 > x0 and y1 > y0, finite", corners, "give the left, top, right and bottom edge")


@dataclass(frozen=True, eq=False)
class Prompt:
    """What the user says about one object on one frame: a box and points (up to 8 slots, a box takes 2), or a mask.

    mask: bool or uint8 (height, width), the object where it is not 0; it stands alone, without box and points.
    Raises ContractError for an empty prompt, too many slots, or a mask that is empty, misshapen or not alone.
    """

    box: Box | None = None
    points: tuple[Point, ...] = ()
    mask: NDArray[np.bool_] | NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        slots = (BOX_SLOTS if self.box else 0) + len(self.points)
        if self.mask is not None:
            if slots:
                raise _error("mask prompt", "a mask alone", f"a mask and {slots} slots", "send two prompts in turn")
            _check_mask(self.mask)
        elif not slots:
            raise _error("prompt", "a box, points or a mask", "none of them", "leave the object out instead")
        elif slots > PROMPT_SLOTS:
            raise _error("prompt", f"at most {PROMPT_SLOTS} slots (a box takes 2)", slots, "keep the last clicks")

    @classmethod
    def from_box(cls, box: Box, *, points: Iterable[Point] = ()) -> Prompt:
        """Prompt of a box, with clicks that refine it."""
        return cls(box=box, points=tuple(points))

    @classmethod
    def from_points(cls, points: Iterable[Point]) -> Prompt:
        """Prompt of clicks."""
        return cls(points=tuple(points))

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Prompt:
        """Prompt of a mask of the whole frame."""
        return cls(mask=mask)

    @property
    def shows_object(self) -> bool:
        """True if the prompt alone says where the object is: a mask, a box or a click on the object."""
        clicked = any(point.label == LABEL_FOREGROUND for point in self.points)
        return self.mask is not None or self.box is not None or clicked


def check_prompt(prompt: Prompt, frame_height: int, frame_width: int) -> None:
    """Raise ContractError unless the prompt lies inside a frame of this size."""
    corners = [(point.x, point.y) for point in prompt.points]
    if prompt.box is not None:
        corners += [(prompt.box.x0, prompt.box.y0), (prompt.box.x1, prompt.box.y1)]
    for x, y in corners:
        if not (0 <= x <= frame_width and 0 <= y <= frame_height):
            raise _error(
                "prompt", f"x in 0..{frame_width}, y in 0..{frame_height}", f"({x}, {y})", "clip it to the frame"
            )
    if prompt.mask is not None and prompt.mask.shape != (frame_height, frame_width):
        raise _error(
            "mask prompt", f"the frame's ({frame_height}, {frame_width})", prompt.mask.shape, "resize the mask"
        )


def encode_prompt(
    prompt: Prompt | None, frame_height: int, frame_width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The prompt encoder's inputs: points [1, P, 2] (x, y as shares, 0..1) and labels [1, P], float32.

    Slots in order: the box's top-left and bottom-right corner, then the points as given; the rest is empty (point 0,
    label -1). None gives eight empty slots. A share is one float64 division, then rounded to float32.
    Raises ContractError for a mask prompt (it goes to the memory encoder) or a prompt outside the frame.
    """
    points = np.zeros((1, PROMPT_SLOTS, 2), np.float32)
    labels = np.full((1, PROMPT_SLOTS), LABEL_EMPTY, np.float32)
    if prompt is None:
        return points, labels
    check_prompt(prompt, frame_height, frame_width)
    if prompt.mask is not None:
        raise _error("prompt slots", "a box or points", "a mask", "use mask_prompt_logits")
    slots: list[tuple[float, float, int]] = []
    if prompt.box is not None:
        slots.append((prompt.box.x0, prompt.box.y0, LABEL_BOX_TOP_LEFT))
        slots.append((prompt.box.x1, prompt.box.y1, LABEL_BOX_BOTTOM_RIGHT))
    slots += [(point.x, point.y, point.label) for point in prompt.points]
    for slot, (x, y, label) in enumerate(slots):
        points[0, slot] = x / frame_width, y / frame_height
        labels[0, slot] = label
    return points, labels


def mask_prompt_logits(mask: NDArray[np.bool_] | NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Mask logits that stand for a mask given by the user: float32 [1, 1, R/4, R/4], -16..16, R = `size`.

    mask: bool or uint8 (height, width), the object where it is not 0. With n = height * width and s the exact area
    sum of a cell, the logit is (2 s - n) * 16 / n in float64 (the product is exact), then rounded to float32.
    Raises ContractError for an empty or misshapen mask.
    """
    _check_mask(mask)
    side = size // MASK_STRIDE
    object_pixels = mask.view(np.uint8) if mask.dtype == np.bool_ else (mask != 0).view(np.uint8)
    count = mask.shape[0] * mask.shape[1]
    twice = 2 * area_sums(object_pixels, side, side) - count
    logits: NDArray[np.float64] = twice.astype(np.float64) * MASK_PROMPT_LOGIT / float(count)
    return logits.astype(np.float32).reshape(1, 1, side, side)


def _check_mask(mask: object) -> None:
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8):
        got = f"{mask.shape} {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise _error("mask prompt", "(height, width) bool or uint8", got, "threshold it and pass one object's mask")
    if not mask.any():
        raise _error("mask prompt", "at least one object pixel", "an empty mask", "leave the object out instead")


def _error(what: str, expected: object, got: object, do: str) -> ContractError:
    return ContractError(explain(what, expected=expected, got=got, do=do))
