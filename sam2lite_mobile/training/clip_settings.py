"""What a training clip is, and every number that shapes the stream of clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain

Bytes = NDArray[np.uint8]
"""Pixels, masks or labels: uint8."""


@dataclass(frozen=True)
class Clip:
    """A short training video of one object.

    `frames`: (T, R, R, 3) uint8 RGB. `masks`: (T, R, R) uint8, 255 on the visible part of the object, else 0; all zero
    in a frame where the object is out of view. The object is in view in frame 0. `source` names data set and item.
    """

    frames: Bytes
    masks: Bytes
    source: str


@dataclass(frozen=True)
class ClipSettings:
    """Size, length and probabilities of training clips.

    Probabilities are per clip and in 0..1; shares of the frame are areas; factors are over a whole clip.
    """

    size_px: int = 256
    frames: int = 3
    video_share: float = 0.5
    """Share of clips that come from annotated videos; the others are stills in motion."""

    first_area_min: float = 0.003
    first_area_max: float = 0.6
    """Share of frame 0 that the visible object covers."""

    gap_max: int = 4
    """Stored video frames between two frames of a clip: 1 to this."""
    crop_min: float = 0.6
    """Smallest side of a crop as a share of the largest crop that fits."""
    flip: float = 0.5
    follow: float = 0.5
    """The crop of a video follows the object instead of standing still."""
    strong_zoom: float = 0.2
    """The scale changes by up to `strong_zoom_factor` over the clip, far to near or near to far."""
    strong_zoom_factor: float = 2.5
    large_rotation: float = 0.1
    turn: float = 0.2
    """A pasted object is foreshortened as if it turned about its vertical axis."""
    elastic: float = 0.6
    perspective: float = 0.4

    paste: float = 0.6
    """A still's object is cut out and pasted on a background that moves differently; else the whole image moves."""
    same_background: float = 0.2
    """The background of a pasted object is its own image with the object filled in."""
    kin_background: float = 0.35
    """The background of a pasted object is another image of the same data set, likely with objects of its class."""
    tiny: float = 0.15
    leave: float = 0.08
    """A pasted object leaves the frame and comes back."""
    occluder: float = 0.3
    distractor: float = 0.3
    """A second object like the first one, or its copy, moves in the clip and is not in the mask."""
    video_overlay: float = 0.2
    """A video clip gets an occluder or a distractor pasted over it."""

    colour: float = 0.8
    colour_range: float = 0.2
    """Half range of brightness, contrast and saturation, 1 being no change."""
    motion_blur: float = 0.3
    soft: float = 0.1
    noise: float = 0.1
    jpeg: float = 0.15

    cache_bytes: int = 768 * 2**20
    """Decoded images kept in memory by a process; the first ones read stay."""

    def __post_init__(self) -> None:
        """Raise ContractError for a size, length, probability or factor that makes no clip."""
        for name in _PROBABILITIES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ContractError(explain(f"clip setting {name}", expected="0 to 1", got=value, do="correct it"))
        for name, low in (
            ("size_px", 32),
            ("frames", 2),
            ("gap_max", 1),
            ("strong_zoom_factor", 1),
            ("cache_bytes", 0),
        ):
            value = getattr(self, name)
            if value < low:
                raise ContractError(explain(f"clip setting {name}", expected=f">= {low}", got=value, do="raise it"))
        if not 0 < self.first_area_min < self.first_area_max:
            got = (self.first_area_min, self.first_area_max)
            raise ContractError(explain("area range of frame 0", expected="0 < min < max", got=got, do="correct it"))
        if self.crop_min == 0:
            raise ContractError(explain("clip setting crop_min", expected="> 0", got=0, do="use 0.6"))


_PROBABILITIES = (
    "video_share first_area_max crop_min flip follow strong_zoom large_rotation turn elastic perspective paste "
    "same_background kin_background tiny leave occluder distractor video_overlay colour colour_range motion_blur soft "
    "noise jpeg"
).split()
